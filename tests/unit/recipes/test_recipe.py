"""What a recipe file may say, and how it is told what it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.recipes import DataTable, DistributedTable, GenerationTable, Recipe, load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[3] / "examples" / "recipes"
SMALLEST = '[model]\npretrained_model_name_or_path = "gpt2"\n[data]\nsynthetic_length = 8\n'


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Recipe]:
    """Return a function that writes a recipe's text to a file and loads it."""

    def load_text(text: str) -> Recipe:
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        return load_recipe(tmp_path / "recipe.toml")

    return load_text


def faults(load: Callable[[], object], folder: Path) -> list[str]:
    """Return the lines of the RecipeError that `load` raises, without the recipe's place."""
    with pytest.raises(RecipeError) as caught:
        load()
    return [line.removeprefix(f"{folder / 'recipe.toml'}: ") for line in str(caught.value).splitlines()]


def test_reading_needs_no_heavy_library() -> None:
    """A recipe is read without loading the training stack, so that collecting tests stays quick."""
    code = (
        "import sys; from pathlib import Path; from pytest_vramguard.recipes import load_recipe; "
        f"load_recipe(Path({str(EXAMPLES / 'llama2-7b-qlora.toml')!r})); "
        "print(sorted({'torch', 'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)))"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=EXAMPLES.parents[1])

    assert "[]\n" == printed.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_recipes(path: Path) -> None:
    """Each shipped example loads, and the rows that it names are there."""
    recipe = load_recipe(path)

    assert recipe.data.path is not None
    assert recipe.data.path.is_file()


def test_tables_are_kept_as_written(load: Callable[[str], Recipe]) -> None:
    """The values go to the Hugging Face classes as they are."""
    recipe = load(f"{SMALLEST}[quantization]\nload_in_4bit = true\n[peft]\nr = 8\n[training]\nbf16 = true\n")

    assert {"pretrained_model_name_or_path": "gpt2"} == recipe.model
    assert {"load_in_4bit": True} == recipe.quantization
    assert {"r": 8} == recipe.peft
    assert {"bf16": True} == recipe.training


def test_absent_tables(load: Callable[[str], Recipe]) -> None:
    """Without their tables a recipe quantises nothing, trains all weights, and has the default training arguments."""
    recipe = load(SMALLEST)

    assert (None, None, {}) == (recipe.quantization, recipe.peft, recipe.training)


def test_data_is_found_beside_the_recipe(load: Callable[[str], Recipe], tmp_path: Path) -> None:
    """The path of the rows is relative to the recipe file, and padding goes to the longest unless the recipe says otherwise."""
    recipe = load('[model]\npretrained_model_name_or_path = "gpt2"\n[data]\npath = "rows.jsonl"\n')

    expected = DataTable(
        path=tmp_path / "rows.jsonl", synthetic_length=None, max_length=None, padding="longest", pad_to_multiple_of=None
    )
    assert expected == recipe.data


def test_nothing_is_done_after_the_steps_unless_asked_for(load: Callable[[str], Recipe]) -> None:
    """A recipe that says nothing of it is neither evaluated nor saved, nor does it generate or merge."""
    recipe = load(f"{SMALLEST}[eval_data]\npath = 'eval.jsonl'\n[training]\ndo_eval = false\nsave_strategy = 'no'\n")

    assert (None, None, False, None) == (recipe.eval_data, recipe.generation, recipe.saves, recipe.merge)


@pytest.mark.parametrize("asked", ["do_eval = true", "eval_strategy = 'steps'", "evaluation_strategy = 'epoch'"])
def test_evaluation_has_data_of_its_own(load: Callable[[str], Recipe], tmp_path: Path, asked: str) -> None:
    """Where training asks for evaluation, the rows of `[eval_data]` are evaluated."""
    recipe = load(f"{SMALLEST}[eval_data]\npath = 'eval.jsonl'\nmax_samples = 5\n[training]\n{asked}\n")

    assert recipe.eval_data is not None
    assert (tmp_path / "eval.jsonl", 5) == (recipe.eval_data.path, recipe.eval_data.max_samples)


def test_evaluation_without_data_takes_that_of_the_training(load: Callable[[str], Recipe]) -> None:
    """Without `[eval_data]` the same rows are evaluated that are trained on."""
    recipe = load("[model]\npretrained_model_name_or_path = 'gpt2'\n[data]\npath = 'rows.jsonl'\n[training]\ndo_eval = true\n")

    assert recipe.data == recipe.eval_data


def test_the_phases_that_a_recipe_asks_for(load: Callable[[str], Recipe]) -> None:
    """Tables and training arguments say what is done after the steps, in the words of the classes that do it."""
    recipe = load(
        f"{SMALLEST}[peft]\n[training]\nsave_strategy = 'epoch'\nprediction_loss_only = false\n[merge]\nsafe_merge = true\n"
        "[generation]\nmax_new_tokens = 8\nprompt_length = 4\nnum_beams = 2\n"
    )

    expected = GenerationTable(prompt_length=4, batch_size=1, config={"max_new_tokens": 8, "num_beams": 2})
    assert (True, True, {"safe_merge": True}) == (recipe.saves, recipe.keeps_predictions, recipe.merge)
    assert expected == recipe.generation


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (
            "[training]\ndo_eval = true",
            ["data.max_samples: missing, expected an integer of at least 1, as synthetic data that is evaluated has no end"],
        ),
        (
            "[generation]\nbatch_size = 0",
            [
                "generation.max_new_tokens: missing, expected an integer of at least 1",
                "generation.prompt_length: missing, expected an integer of at least 1",
                "generation.batch_size: got 0 (int), expected an integer of at least 1",
            ],
        ),
        ("[merge]", ["peft: missing, expected a table, as there is no adapter to merge; or drop [merge]"]),
        ("[eval_data]", ["eval_data.path: missing, expected the path of a JSONL file; or give synthetic_length"]),
    ],
)
def test_faulty_phases(load: Callable[[str], Recipe], tmp_path: Path, tables: str, expected: list[str]) -> None:
    """What is missing for a phase is told when the recipe is read, and not after the training."""
    assert expected == faults(lambda: load(f"{SMALLEST}{tables}\n"), tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    """A recipe that is not there is named."""
    missing = ["cannot be read: No such file or directory, expected a UTF-8 text file"]

    assert missing == faults(lambda: load_recipe(tmp_path / "recipe.toml"), tmp_path)


def test_all_faults_at_once(load: Callable[[str], Recipe], tmp_path: Path) -> None:
    """Every fault of a file is told in one error, each with its place."""
    text = "[modle]\n[model]\ndtyp = 1\nconfig = 3\n[quantization]\n[data]\npadding = 'shortest'\nmax_length = 0\n"

    expected = [
        "modle: unknown key, expected one of model, quantization, peft, training, data, eval_data, generation, merge,"
        " distributed; did you mean 'model'?",
        "model.dtyp: unknown key, expected one of pretrained_model_name_or_path, config, dtype, torch_dtype,"
        " attn_implementation, experts_implementation, use_safetensors, variant; did you mean 'dtype'?",
        "model.pretrained_model_name_or_path: missing, expected a non-empty string",
        "model.config: got 3 (int), expected a table",
        "peft: missing, expected a table, as quantised weights cannot be trained; or drop [quantization]",
        "data.path: missing, expected the path of a JSONL file; or give synthetic_length",
        "data.max_length: got 0 (int), expected an integer of at least 1",
        "data.padding: got 'shortest' (str), expected one of 'longest', 'max_length'",
    ]
    assert expected == faults(lambda: load(text), tmp_path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("x = 1\nsynthetic_length = 8", "data.x: unknown key, expected one of {keys}"),
        (
            "path = 'a.jsonl'\nsynthetic_length = 8",
            "data.synthetic_length: given beside path, expected one of the two; drop one",
        ),
        (
            "path = 'a.jsonl'\npadding = 'max_length'",
            "data.max_length: missing, expected an integer of at least 1, as padding is 'max_length'",
        ),
        ("path = 3", "data.path: got 3 (int), expected a non-empty string"),
        ("synthetic_length = true", "data.synthetic_length: got True (bool), expected an integer of at least 1"),
    ],
)
def test_faulty_data(load: Callable[[str], Recipe], tmp_path: Path, data: str, expected: str) -> None:
    """What is wrong with [data] is told without running the recipe."""
    keys = "path, synthetic_length, max_length, padding, pad_to_multiple_of, max_samples"
    text = f'[model]\npretrained_model_name_or_path = "gpt2"\n[data]\n{data}\n'

    assert [expected.format(keys=keys)] == faults(lambda: load(text), tmp_path)


@pytest.mark.parametrize(
    ("distributed", "expected"),
    [
        ("", "distributed.world_size: missing, expected an integer of at least 2"),
        ("world_size = 1", "distributed.world_size: got 1 (int), expected an integer of at least 2"),
        ("world_size = 8\nrank = 8", "distributed.rank: got 8 (int), expected an integer below world_size, which is 8"),
        ("world_size = 8\nrank = -1", "distributed.rank: got -1 (int), expected an integer of at least 0"),
        ("world_size = 8\nrank = 'auto'", "distributed.rank: got 'auto' (str), expected an integer"),
        ("world_size = 8\nstrategy = 'fsdp'", "distributed.strategy: unknown key, expected one of world_size, rank"),
    ],
)
def test_faulty_ranks(load: Callable[[str], Recipe], tmp_path: Path, distributed: str, expected: str) -> None:
    """What is wrong with [distributed] is told without running the recipe."""
    (fault,) = faults(lambda: load(f"{SMALLEST}[distributed]\n{distributed}\n"), tmp_path)

    assert fault.startswith(expected)


def test_first_rank_is_run(load: Callable[[str], Recipe]) -> None:
    """Of several ranks the first is measured unless the recipe names another; without the table there is one card."""
    recipe = load(f"{SMALLEST}[distributed]\nworld_size = 8\n")

    assert DistributedTable(world_size=8, rank=0) == recipe.distributed
    assert DistributedTable(world_size=8, rank=7) == recipe.with_overrides(distributed={"rank": 7}).distributed
    assert recipe.with_overrides(distributed=None).distributed is None


def test_required_tables(load: Callable[[str], Recipe], tmp_path: Path) -> None:
    """A recipe says what is trained and on what."""
    expected = ["model: missing, expected a table", "data: missing, expected a table"]

    assert expected == faults(lambda: load(""), tmp_path)


def test_override_is_laid_over_its_table(load: Callable[[str], Recipe]) -> None:
    """An override changes the keys that it names, also in tables inside its table, and leaves the others."""
    recipe = load(f"[model.config]\nvocab_size = 9\nhidden_size = 8\n{SMALLEST}")

    changed = recipe.with_overrides(model={"config": {"vocab_size": 5}, "dtype": "float16"}, training={"bf16": True})

    model = {"pretrained_model_name_or_path": "gpt2", "dtype": "float16", "config": {"vocab_size": 5, "hidden_size": 8}}
    assert model == changed.model
    assert {"bf16": True} == changed.training
    assert {"vocab_size": 9, "hidden_size": 8} == recipe.model["config"]


def test_override_with_none_drops_the_table(load: Callable[[str], Recipe]) -> None:
    """A table can be taken away."""
    recipe = load(f"{SMALLEST}[peft]\nr = 8\n")

    assert recipe.with_overrides(peft=None).peft is None


def test_override_with_none_drops_the_key(load: Callable[[str], Recipe]) -> None:
    """A key can be taken away, as for rows instead of synthetic ids, also in a table that was not there."""
    recipe = load(SMALLEST).with_overrides(data={"synthetic_length": None, "path": "rows.jsonl"}, peft={"r": None})

    assert recipe.folder / "rows.jsonl" == recipe.data.path
    assert recipe.data.synthetic_length is None
    assert {} == recipe.peft


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            {"trainin": {}},
            "trainin: unknown key, expected one of model, quantization, peft, training, data, eval_data, generation, merge,"
            " distributed;"
            " did you mean 'training'?",
        ),
        ({"training": 3}, "training: got 3 (int), expected a table"),
        ({"data": None}, "data: missing, expected a table"),
        ({"model": {"device_map": "auto"}}, "model.device_map: unknown key, expected one of {keys}"),
    ],
)
def test_faulty_overrides(load: Callable[[str], Recipe], tmp_path: Path, overrides: dict[str, Any], expected: str) -> None:
    """What comes out of an override is held to the same rules as a file."""
    keys = (
        "pretrained_model_name_or_path, config, dtype, torch_dtype, attn_implementation, experts_implementation,"
        " use_safetensors, variant"
    )
    recipe = load(SMALLEST)

    assert [expected.format(keys=keys)] == faults(lambda: recipe.with_overrides(**overrides), tmp_path)
