"""What the shipped tokenizer does when transformers loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import transformers

from pytest_vramguard.models import load_models, tokenizer_folder

TRAVEL = Path(__file__).parents[3] / "examples" / "data" / "travel.jsonl"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it far?"},
    {"role": "assistant", "content": "No."},
]


@pytest.fixture(scope="module")
def tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Load the shipped tokenizer as a recipe does."""
    return transformers.AutoTokenizer.from_pretrained(tokenizer_folder())


def test_every_id_is_valid_for_every_model(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """No model of the catalogue has a smaller vocabulary."""
    too_small = [model.name for model in load_models().models if int(str(model.config["vocab_size"])) < len(tokenizer)]

    assert [] == too_small


def test_vocabulary_has_the_stated_size(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """The tokenizer knows as many tokens as its README says."""
    assert 2048 == len(tokenizer)


def test_special_tokens_have_the_first_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """Padding, ends and unknown are there, so that a data collator needs no help."""
    found = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)

    assert (0, 1, 2, 3) == found


def test_text_begins_with_bos(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """Encoding puts one `<s>` in front and nothing behind."""
    ids = tokenizer("Is it far?")["input_ids"]

    assert 1 == ids[0]
    assert set(ids[1:]).isdisjoint(tokenizer.all_special_ids)


@pytest.mark.parametrize("text", ["Is it far?", "  two\n\nlines\t", "Z\u00fcrich \u6771\u4eac \U0001f600"])
def test_any_text_survives(tokenizer: transformers.PreTrainedTokenizerBase, text: str) -> None:
    """Any text, in any script, comes back from its ids."""
    assert text == tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_chat_template_writes_roles(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """Each message stands behind the token of its role, and an answer ends with `</s>`."""
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)

    assert "<s><|system|>\nBe brief.\n<|user|>\nIs it far?\n<|assistant|>\nNo.</s>" == text


def test_generation_prompt_opens_an_answer(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """With a generation prompt, the text ends where the assistant is to speak."""
    text = tokenizer.apply_chat_template(MESSAGES[1:2], tokenize=False, add_generation_prompt=True)

    assert "<s><|user|>\nIs it far?\n<|assistant|>\n" == text


def test_chat_template_marks_answers(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """The assistant's words and their end are marked, so that a loss on answers alone is possible."""
    encoded = cast(
        "transformers.BatchEncoding",
        tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True),
    )
    marked = [id_ for id_, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]

    assert "No.</s>" == tokenizer.decode(marked)


def test_files_are_small() -> None:
    """The tokenizer adds less than 150 kB to the package."""
    assert sum(path.stat().st_size for path in tokenizer_folder().iterdir()) < 150_000


def test_travel_rows_vary_in_length(tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """The example rows reach from under 50 to over 300 tokens, so that padding and cutting happen."""
    rows = [json.loads(line) for line in TRAVEL.read_text(encoding="ascii").splitlines()]
    lengths = [len(tokenizer(f"{row['instruction']}\n{row['output']}")["input_ids"]) for row in rows]

    assert min(lengths) < 50
    assert max(lengths) > 300


def test_travel_rows_are_unique() -> None:
    """No question and no answer occurs twice, and every row has both."""
    rows = [json.loads(line) for line in TRAVEL.read_text(encoding="ascii").splitlines()]

    assert len(rows) >= 320
    assert len(rows) == len({row["instruction"] for row in rows}) == len({row["output"] for row in rows})
