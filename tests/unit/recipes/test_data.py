"""Which token ids a recipe's rows become, how they are batched, and how faulty rows are told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from transformers import AutoTokenizer

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.models import tokenizer_folder
from pytest_vramguard.recipes import DataTable
from pytest_vramguard.recipes.data import (
    Collator,
    DataSource,
    Samples,
    TrainingData,
    evaluation_data,
    read_conversations,
    training_data,
)

if TYPE_CHECKING:
    from pathlib import Path

TABLE: Final = DataTable(path=None, synthetic_length=None, max_length=None, padding="longest", pad_to_multiple_of=None)
QUESTION: Final = '{"instruction": "Where to?", "output": "Home."}\n'
COLLATOR: Final = Collator(pad_token_id=7, length=None, multiple=1)


def fed(
    table: DataTable, folder: Path | None = None, *, count: int = 2, vocab_size: int = 50_000, seed: int = 1
) -> TrainingData:
    """Return the training data of a table with the shipped tokenizer, or that in `folder`."""
    source = DataSource(tokenizer_folder=folder or tokenizer_folder(), vocab_size=vocab_size, seed=seed)
    return training_data(table, source, count=count)


def worst(table: DataTable) -> TrainingData:
    """Return two samples, each the longest of the table."""
    source = DataSource(tokenizer_folder=tokenizer_folder(), vocab_size=50_000, seed=1)
    return training_data(table, source, count=2, worst=True)


def rows_at(folder: Path, text: str) -> DataTable:
    """Return a table that names a JSONL with this text."""
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return replace(TABLE, path=folder / "rows.jsonl")


def fault(folder: Path, text: str) -> str:
    """Return the error that a JSONL with this text gives, from the name of the file on."""
    with pytest.raises(RecipeError) as caught:
        fed(rows_at(folder, text))
    return str(caught.value).removeprefix(f"{folder}/")


def test_instruction_and_output_are_a_conversation(tmp_path: Path) -> None:
    """A row of two fields is what a user says and an assistant answers."""
    table = rows_at(tmp_path, QUESTION)

    assert table.path is not None
    expected = [{"role": "user", "content": "Where to?"}, {"role": "assistant", "content": "Home."}]
    assert [expected] == read_conversations(table.path, 1)


@pytest.mark.parametrize(("text", "expected"), [("", "Where to?"), ("By train.", "Where to?\n\nBy train.")])
def test_input_follows_the_instruction(tmp_path: Path, text: str, expected: str) -> None:
    """The third field of Alpaca's rows belongs to what the user says, unless it is empty."""
    table = rows_at(tmp_path, json.dumps({"instruction": "Where to?", "input": text, "output": "Home."}))

    assert table.path is not None
    assert expected == read_conversations(table.path, 1)[0][0]["content"]


def test_rows_are_tokenised_by_the_chat_template(tmp_path: Path) -> None:
    """The token ids are those of the tokenizer's own chat template."""
    messages = [{"role": "user", "content": "Where to?"}, {"role": "assistant", "content": "Home."}]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder())
    expected = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]

    assert [expected] == list(fed(rows_at(tmp_path, json.dumps({"messages": messages}))).samples.rows)


def test_tokenizer_without_chat_template(tmp_path: Path) -> None:
    """A tokenizer of a base model gets the messages with headings, and its end of sequence."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder())
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    expected = tokenizer(f"### User:\nWhere to?\n\n### Assistant:\nHome.{tokenizer.eos_token}")["input_ids"]

    assert [expected] == list(fed(rows_at(tmp_path, QUESTION), tmp_path).samples.rows)


def test_only_the_rows_that_are_needed_are_read(tmp_path: Path) -> None:
    """A faulty row behind the last one that is needed does no harm."""
    assert 2 == len(fed(rows_at(tmp_path, QUESTION * 2 + "{"), count=2).samples.rows)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """A file may end with, or hold, empty lines."""
    assert 2 == len(fed(rows_at(tmp_path, f"\n{QUESTION}\n{QUESTION}\n")).samples.rows)


def test_rows_come_again() -> None:
    """Where a file has fewer rows than the steps need, they are taken again in order."""
    samples = Samples(rows=[[1], [2]], count=5)

    assert [[1], [2], [1], [2], [1]] == [samples[index] for index in range(len(samples))]


def test_samples_are_cut_to_max_length(tmp_path: Path) -> None:
    """Longer samples lose their end."""
    table = rows_at(tmp_path, QUESTION)
    whole = fed(table).samples.rows[0]

    assert [whole[:3]] == list(fed(replace(table, max_length=3)).samples.rows)


def test_synthetic_ids_have_the_stated_length() -> None:
    """There are as many samples as are asked for, all of one length and inside the vocabulary."""
    rows = fed(replace(TABLE, synthetic_length=6), count=3, vocab_size=4).samples.rows

    assert [6, 6, 6] == [len(row) for row in rows]
    assert {0, 1, 2, 3} == {token for row in rows for token in row}


def test_synthetic_ids_follow_the_seed() -> None:
    """The same seed gives the same ids, another one others."""
    table = replace(TABLE, synthetic_length=16)

    assert fed(table, seed=1) == fed(table, seed=1)
    assert fed(table, seed=1) != fed(table, seed=2)


def test_batch_is_padded_to_its_longest() -> None:
    """Padding is masked, and is no label."""
    batch = COLLATOR([[1, 2, 3], [4]])

    assert [[1, 2, 3], [4, 7, 7]] == batch["input_ids"].tolist()
    assert [[1, 1, 1], [1, 0, 0]] == batch["attention_mask"].tolist()
    assert [[1, 2, 3], [4, -100, -100]] == batch["labels"].tolist()


@pytest.mark.parametrize(
    ("length", "multiple", "expected"),
    [(None, 1, 3), (None, 4, 4), (None, 3, 3), (5, 1, 5), (5, 4, 8)],
)
def test_padded_length(length: int | None, multiple: int, expected: int) -> None:
    """A batch is as long as its longest sample or as stated, rounded up."""
    collator = replace(COLLATOR, length=length, multiple=multiple)

    assert expected == collator.padded_length([[1, 2, 3], [4]])


@pytest.mark.parametrize(("padding", "expected"), [("longest", None), ("max_length", 9)])
def test_padding_of_the_table(padding: str, expected: int | None) -> None:
    """Padding to max_length holds for every batch, other padding for none."""
    data = fed(replace(TABLE, synthetic_length=6, max_length=9, padding=padding, pad_to_multiple_of=3))

    assert (expected, 3) == (data.collator.length, data.collator.multiple)


@pytest.mark.parametrize(("rows", "expected"), [([[1, 2], [3, 4]], 2), ([[1, 2], [3]], None)])
def test_sample_tokens(rows: list[list[int]], expected: int | None) -> None:
    """The tokens of a sample are known where they are the same for all."""
    assert expected == TrainingData(samples=Samples(rows=rows, count=2), collator=COLLATOR).sample_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "rows.jsonl: empty, expected a JSON object on each line, with instruction and output, or with messages"),
        ("\n \n", "rows.jsonl: empty, expected a JSON object on each line, with instruction and output, or with messages"),
        (
            QUESTION + "{,}\n",
            "rows.jsonl:2: malformed JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("[1]", "rows.jsonl:1: got a list, expected a JSON object"),
        ('{"instruction": "Where to?"}', "rows.jsonl:1: output: missing, expected a non-empty string"),
        ('\n{"output": "Home."}', "rows.jsonl:2: instruction: missing, expected a non-empty string"),
        ('{"instruction": 1, "output": "Home."}', "rows.jsonl:1: instruction: got 1 (int), expected a non-empty string"),
        ('{"messages": []}', "rows.jsonl:1: messages: got an empty list, expected at least one message"),
        ('{"messages": [{"role": "user"}]}', "rows.jsonl:1: messages[0].content: missing, expected a non-empty string"),
        ('{"messages": 3}', "rows.jsonl:1: messages: got 3 (int), expected a list of tables"),
    ],
)
def test_faulty_rows(tmp_path: Path, text: str, expected: str) -> None:
    """A fault is told with the line that it is on."""
    assert expected == fault(tmp_path, text)


def test_all_faults_of_a_row(tmp_path: Path) -> None:
    """A row that lacks both fields is told so in one error."""
    expected = (
        "rows.jsonl:1: instruction: missing, expected a non-empty string\n"
        f"{tmp_path}/rows.jsonl:1: output: missing, expected a non-empty string"
    )

    assert expected == fault(tmp_path, '{"question": "Where to?"}')


def test_missing_file(tmp_path: Path) -> None:
    """Rows that are not there are named."""
    path = tmp_path / "rows.jsonl"

    with pytest.raises(RecipeError) as caught:
        fed(replace(TABLE, path=path))

    assert f"{path}: cannot be read: No such file or directory, expected a UTF-8 text file" == str(caught.value)


def test_file_that_is_not_text(tmp_path: Path) -> None:
    """A file in another encoding is told apart from a malformed row."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xff\xfe{}")

    with pytest.raises(RecipeError) as caught:
        fed(replace(TABLE, path=path))

    reason = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    assert f"{path}: cannot be read: {reason}, expected a UTF-8 text file" == str(caught.value)


def test_ids_outside_the_vocabulary(tmp_path: Path) -> None:
    """A token that the model has no embedding for is refused, since a card would end the process at it."""
    table = rows_at(tmp_path, QUESTION)
    largest = max(fed(table).samples.rows[0])

    with pytest.raises(RecipeError) as caught:
        fed(table, vocab_size=largest)

    assert (
        f"{table.path}: got token id {largest}, expected ids below the model's vocab_size of {largest};"
        " put the model's own tokenizer into its folder, or use data.synthetic_length"
    ) == str(caught.value)
    assert fed(table, vocab_size=largest + 1).samples.rows


def test_the_worst_batch_is_of_the_longest_row(tmp_path: Path) -> None:
    """Every sample is the longest of all rows, also of those that the steps would not reach, and padded as it would be."""
    longest = '{"instruction": "Where to, and when, and by which train?", "output": "Home."}\n'
    table = replace(rows_at(tmp_path, QUESTION * 3 + longest + QUESTION), pad_to_multiple_of=64)
    rows = fed(table, count=5).samples.rows

    data = worst(table)

    assert [max(rows, key=len)] * 2 == [data.samples[0], data.samples[1]]
    assert 64 == data.sample_tokens


def test_the_worst_batch_is_cut_and_counted_as_any(tmp_path: Path) -> None:
    """`max_length` cuts the longest row too, and `max_samples` says how many rows there are to choose from."""
    longest = '{"instruction": "Where to, and when?", "output": "Home."}\n'
    table = rows_at(tmp_path, QUESTION + longest)
    first = fed(table, count=1).samples.rows[0]

    assert [first] == list(worst(replace(table, max_samples=1)).samples.rows)
    assert [first[:3]] == list(worst(replace(table, max_length=3, max_samples=1)).samples.rows)


@pytest.mark.parametrize(("max_samples", "count"), [(None, 3), (2, 2), (9, 3)])
def test_every_row_is_evaluated_once(tmp_path: Path, max_samples: int | None, count: int) -> None:
    """An evaluation goes through the whole file, or through its first `max_samples` rows."""
    table = replace(rows_at(tmp_path, QUESTION * 3), max_samples=max_samples)
    data = evaluation_data(table, DataSource(tokenizer_folder=tokenizer_folder(), vocab_size=50_000, seed=1))

    assert count == len(data.samples) == len(data.samples.rows)
