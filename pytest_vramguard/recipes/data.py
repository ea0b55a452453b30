"""Training data: rows of a JSONL tokenised for real, or synthetic token ids, and the batches made of them.

The loss is taken over all tokens of a sample, prompt included, and not over padding; memory is the same whichever tokens count.
Only as many rows as are needed are read, from the start of the file. Faults are told of the first faulty row alone, since
rows are of one make.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from transformers import AutoTokenizer

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.tables import checking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from pytest_vramguard.recipes.recipe import DataTable
    from pytest_vramguard.tables import Table

Conversation: TypeAlias = "list[dict[str, str]]"
"""Messages, each with `role` and `content`."""
TokenIds: TypeAlias = "Sequence[int]"

_IGNORED: Final = -100
"""Label of a token that the loss leaves out. Source: `ignore_index` of torch.nn.CrossEntropyLoss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """A map-style dataset of `count` samples; the rows come again in the same order when they are used up."""

    rows: Sequence[TokenIds]
    """At least one row, none of them empty."""
    count: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> TokenIds:
        """Return the token ids of one sample."""
        return self.rows[index % len(self.rows)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Collator:
    """Makes a batch of samples: pads on the right, masks the padding, and takes the token ids as labels."""

    pad_token_id: int
    length: int | None
    """Every batch is padded to this many tokens; None pads to the longest sample of each batch."""
    multiple: int
    """The padded length is rounded up to a multiple of this."""

    def padded_length(self, samples: Sequence[TokenIds]) -> int:
        """Return the number of tokens to which each of `samples` is padded."""
        length = self.length or max(map(len, samples))
        return length + -length % self.multiple

    def __call__(self, samples: Sequence[TokenIds]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask` and `labels`, each of shape (batch, padded length)."""
        length = self.padded_length(samples)
        return {
            "input_ids": torch.tensor([_filled(ids, self.pad_token_id, length) for ids in samples]),
            "attention_mask": torch.tensor([_filled([1] * len(ids), 0, length) for ids in samples]),
            "labels": torch.tensor([_filled(ids, _IGNORED, length) for ids in samples]),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """What a Trainer is fed with."""

    samples: Samples
    collator: Collator

    @property
    def sample_tokens(self) -> int | None:
        """Tokens that each sample has in its batch, padding included; None where that differs."""
        lengths = {self.collator.padded_length([row]) for row in self.samples.rows}
        return lengths.pop() if len(lengths) == 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """What rows are made with, besides the table that names them."""

    tokenizer_folder: Path
    vocab_size: int
    seed: int


def training_data(table: DataTable, source: DataSource, *, count: int, worst: bool = False) -> TrainingData:
    """Return `count` samples of what `table` names, and how they are put into batches.

    `worst`: every sample is the longest of all rows, so that every batch is as large as the largest that can come.

    Raises:
        RecipeError: if the JSONL is missing or empty, if a row is malformed or lacks a field (with its line number), or if a
            token id is not below `vocab_size`.
    """
    most = None if worst and table.path is not None else count
    rows, pad_token_id = _rows_of(table, source, _fewer(table.max_samples, most))
    chosen = [max(rows, key=len)] if worst else rows
    return TrainingData(samples=Samples(rows=chosen, count=count), collator=_collator(table, pad_token_id))


def evaluation_data(table: DataTable, source: DataSource) -> TrainingData:
    """Return every sample of what `table` names once, or its `max_samples`, and how they are put into batches.

    Raises:
        RecipeError: as `training_data`.
    """
    rows, pad_token_id = _rows_of(table, source, table.max_samples)
    return TrainingData(samples=Samples(rows=rows, count=len(rows)), collator=_collator(table, pad_token_id))


def _fewer(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two limits, of which None is no limit."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _rows_of(table: DataTable, source: DataSource, most: int | None) -> tuple[list[TokenIds], int]:
    """Return rows, cut to `max_length`, at most `most` of a file and as many synthetic ones; and what they are padded with."""
    pad_token_id = 0
    if table.path is None:
        rows = synthetic_rows(most or 1, table.synthetic_length or 1, source)
    else:
        tokenizer = AutoTokenizer.from_pretrained(source.tokenizer_folder, local_files_only=True)
        pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id or 0
        rows = [_token_ids(conversation, tokenizer) for conversation in read_conversations(table.path, most)]
        _check_vocabulary(rows, table.path, source.vocab_size)
    return [row[: table.max_length] for row in rows], pad_token_id


def _collator(table: DataTable, pad_token_id: int) -> Collator:
    return Collator(
        pad_token_id=pad_token_id,
        length=table.max_length if table.padding == "max_length" else None,
        multiple=table.pad_to_multiple_of or 1,
    )


def read_conversations(path: Path, count: int | None) -> list[Conversation]:
    """Return the first `count` rows of the JSONL at `path`, or all if there are fewer, or if `count` is None.

    Raises:
        RecipeError: if the file cannot be read or has no row, or at the first row that is not a conversation.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            rows = list(islice(_rows(lines, path), count))
    except (OSError, UnicodeDecodeError) as exc:
        raise RecipeError(f"{path}: cannot be read: {getattr(exc, 'strerror', exc)}, expected a UTF-8 text file") from exc
    if not rows:
        raise RecipeError(f"{path}: empty, expected a JSON object on each line, with instruction and output, or with messages")
    return rows


def _rows(lines: Iterator[str], path: Path) -> Iterator[Conversation]:
    """Yield the conversation of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise RecipeError(f"{path}:{number}: malformed JSON: {exc}") from exc
        if not isinstance(row, dict):
            raise RecipeError(f"{path}:{number}: got a {type(row).__name__}, expected a JSON object")
        with checking(row, f"{path}:{number}", RecipeError) as table:
            conversation = _conversation(table)
        yield conversation


def _conversation(row: Table) -> Conversation:
    """Return the messages of a row; faults are noted in it."""
    if "messages" in row.mapping:
        messages = [{key: message.string(key) for key in ("role", "content")} for message in row.tables("messages")]
        if row.mapping["messages"] == []:
            row.fault("messages", "got an empty list, expected at least one message")
        return messages
    prompt = [row.string("instruction")]
    if row.mapping.get("input"):  # Alpaca writes an empty one where there is none
        prompt.append(row.string("input"))
    return [{"role": "user", "content": "\n\n".join(prompt)}, {"role": "assistant", "content": row.string("output")}]


def _token_ids(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    """Return the token ids of a conversation: by the tokenizer's chat template if it has one, else of text with headings."""
    if tokenizer.chat_template is not None:
        text: Any = tokenizer.apply_chat_template(conversation, tokenize=False)
    else:
        text = "\n\n".join(f"### {message['role'].capitalize()}:\n{message['content']}" for message in conversation)
        text += tokenizer.eos_token or ""
    # A chat template writes the special tokens itself.
    ids: list[int] = tokenizer(text, add_special_tokens=tokenizer.chat_template is None, verbose=False)["input_ids"]
    return ids


def synthetic_rows(count: int, length: int, source: DataSource) -> list[TokenIds]:
    """Return `count` rows of `length` token ids, the same for the same seed."""
    generator = torch.Generator().manual_seed(source.seed)
    rows: list[TokenIds] = torch.randint(source.vocab_size, (count, length), generator=generator).tolist()
    return rows


def _check_vocabulary(rows: Sequence[TokenIds], path: Path, vocab_size: int) -> None:
    """Refuse token ids for which the model has no embedding; a card would end the whole process at them."""
    largest = max(map(max, rows))
    if largest >= vocab_size:
        raise RecipeError(
            f"{path}: got token id {largest}, expected ids below the model's vocab_size of {vocab_size};"
            " put the model's own tokenizer into its folder, or use data.synthetic_length"
        )


def _filled(values: Sequence[int], filler: int, length: int) -> list[int]:
    """Return `values` followed by as many of `filler` as make `length`."""
    return [*values, *[filler] * (length - len(values))]
