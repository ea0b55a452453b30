"""FIDELITY.md, its picture and the table in the README, made of results; never edited.

python -m tests.fidelity.report [--check]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fidelity.fits import percentile
from tests.fidelity.picture import scatter
from tests.fidelity.results import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.fidelity.rows import Comparison

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
RESULTS: Final = HERE / "results"
"""What the rows' own versions give; in its folder `today`, what today's give for some of them."""
REPORT: Final = ROOT / "FIDELITY.md"
PICTURE: Final = ROOT / "FIDELITY.svg"
README: Final = ROOT / "README.md"
SMALLEST_BYTES: Final = 2**20
"""What is less is a number or a share."""
TODAY_HEAD: Final = """The same runs with the versions that a new environment gets, {versions}, against
the same measurements: an error is that of the emulated card together with what the libraries changed since. The larger
changes, each followed to the allocation:

- OSF: PEFT 0.21 keeps the frozen part of a weight no more, but the first values of the trained one (22 % less). Where the
  adapter is in 32 bits, what it adds is computed and kept in 32 bits (12 % more).
- Adaption prompts with checkpoints: transformers 5.23 packs the queries of a single new token, where 5.13 copied keys and
  values for each head. It was in the copies' large segments that growing caches found room; now each grows into segments of
  its own, and 64 answers leave 22.5 GiB reserved, of which no more than 9.5 are allocated at any time (70 % more).
- TinyLlama: attention that keeps no scores, and the next item.
- LitGPT with quantised weights: since release 0.43 bitsandbytes does not hold the input of a layer beyond its forward pass.
  Falcon-40b, which ran out of memory, then fits. For generation it has a kernel that needs no weight in 16 bits.
- LitGPT's Llama: since torch 2.2 a product with a factor that is not trained does not keep the other one (3 % less).
- ViT-L/16: attention writes its output as the next layer wants it; torch 2.1 copied it, and kept both.
- FSDP with LoRA: PEFT keeps the matrices of LoRA in 32 bits, so more is allocated and other blocks are left between.

"""
SUMMARY_BEGIN: Final = "| source | metric |"
BLANK_LINE: Final = "\n\n"
HEAD: Final = """# Fidelity

Published measurements of real cards, rebuilt on the emulated card of the same model. Made by `make fidelity` from the results
in `tests/fidelity/results`; do not edit.

Errors are those of the emulated value relative to the measured one: below zero is an under-estimate.

Fitted on the one configuration lora/llama-3.2-3B-rank32, for all runs: how wide the lengths of the MetaMathQA samples spread,
how they lean and how long the longest is, by three numbers of torch 2.7.1 and two of 2.9.0. The family of distributions was
chosen there too, so the rows of that configuration are no test. How long the first batch is, 470 tokens, is fitted on
full-finetuning with torch 2.9.0, which is no test either: the states of the optimizer are made where the activations of the
first step were, and what is left between them stays for the run.
That Qwen's table is what nvidia-smi shows, in units of 1000 MiB, was inferred from differences between its rows after a first
comparison was off, by up to 5.8 %. What lies outside of PyTorch, 1630 MiB, is fitted on Qwen-14B-Chat with LoRA and 512 tokens,
which is no test.
Two settings were inferred after a first comparison was off: BERT-large keeps the input of softmax (13.7 and 11.2 % too little
without it), and the TinyLlama pass was made with the releases and settings that its own allocations tell of.

How many launches the emulated card may lag behind the process, 100, was chosen after Yi-34B with QLoRA on two cards of 24 GB
had run out of memory with 1000, which it did not when it was measured; rows of Llama-2-7B are the same to the byte with both.

The TinyLlama trace comes out with all of its 6,830 allocations and frees in order and to the byte, and with others between
them: while values are followed, PyTorch before 2.2 adds a gradient to another in fresh memory instead of in place. Without
following there are no others. That is what the segments differ by.
Where samples have many lengths, what is reserved depends on their order, which is not published: in ms-swift's benchmark most
of it is cached blocks for other lengths. All its runs with the same limit of tokens see the same samples in the same order, so
one of forty draws was fitted for a limit, on one row: qwen-14b-chat LoRA for 1024, qwen-7b-chat LoRA for 2048, qwen-1_8b-chat
LoRA for 8192. These are no test; the others of 1024 are one. For 512 and 4096 nothing was fitted.

Of the 5000 steps of the MetaMathQA runs 85 were run, and ten of the twenty answers to questions on the way, whose lengths are
those of GSM8K. `tests/fidelity/sampled_steps.py` says which and how the rest follows. A run of the same configuration and
versions on another day has the emulated values of the first. The batches before an answer are as long as in the median of all
orders of the samples, since the order is not published; with one order of luck prefix tuning had come out 3.5 % too low.

![emulated against measured](FIDELITY.svg)

"""


def load(folder: Path = RESULTS) -> list[Comparison]:
    """Return the results of all files in a folder."""
    return [
        comparison
        for path in sorted(folder.glob("*.json"))
        for comparison in read(json.loads(path.read_text(encoding="utf-8")))
    ]


def text_of(comparisons: Sequence[Comparison], today: Sequence[Comparison]) -> str:
    """Return the report; `today` are the same rows with today's versions, as far as they were run."""
    rebuilt = [comparison for comparison in comparisons if comparison.emulated is not None]
    return (
        f"{HEAD}## Summary\n\n{summary(comparisons)}\n\n{_under(rebuilt)}\n\n{_of_today(rebuilt, today)}\n\n"
        f"## Every row\n\n{_rows(rebuilt, today)}\n\n## Rows that are not rebuilt\n\n{_missing(comparisons)}\n"
    )


def summary(comparisons: Sequence[Comparison]) -> str:
    """Return the table of sources and metrics."""
    head = (
        f"{SUMMARY_BEGIN} rows | rebuilt | median | 95th percentile | worst | under by more than 1 % | by more than 2 % |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.source, general(comparison.metric)), []).append(comparison)
    return "\n".join([head, *(_summary_line(source, metric, groups[source, metric]) for source, metric in sorted(groups))])


def with_table(readme: str, comparisons: Sequence[Comparison]) -> str:
    """Return the README with the summary of what was rebuilt in place of the table that it has."""
    rebuilt = [comparison for comparison in comparisons if comparison.emulated is not None]
    before, _, after = readme.partition(SUMMARY_BEGIN)
    return f"{before}{summary(rebuilt)}{BLANK_LINE}{after.partition(BLANK_LINE)[2]}"


def general(metric: str) -> str:
    """Return the name of a metric without the number of its window."""
    return re.sub(r", window \d+$", ", windows", metric)


def _summary_line(source: str, metric: str, comparisons: Sequence[Comparison]) -> str:
    """Return the line of a source and metric."""
    errors = [error for comparison in comparisons if (error := comparison.relative_error) is not None]
    if not errors:
        return f"| {source} | {metric} | {len(comparisons)} | 0 | | | | | |"
    sizes = [abs(error) for error in errors]
    shares = " | ".join(f"{sum(error < -limit for error in errors) / len(errors):.1%}" for limit in (0.01, 0.02))
    worst = max(errors, key=abs)
    return (
        f"| {source} | {metric} | {len(comparisons)} | {len(errors)} | {percentile(sizes, 50):.2%}"
        f" | {percentile(sizes, 95):.2%} | {worst:+.2%} | {shares} |"
    )


def _under(rebuilt: Iterable[Comparison]) -> str:
    """Return the share of under-estimated memory over all rows; a row with several metrics counts by its worst."""
    worst: dict[tuple[str, str], float] = {}
    for comparison in rebuilt:
        error = comparison.relative_error or 0.0 if comparison.measured >= SMALLEST_BYTES else 0.0
        key = (comparison.source, comparison.identity)
        worst[key] = min(worst.get(key, 0.0), error)
    count = sum(error < -0.02 for error in worst.values())
    return f"Rows with a metric that is under-estimated by more than 2 %: {count} of {len(worst)} ({count / len(worst):.1%})."


def _of_today(rebuilt: Iterable[Comparison], today: Iterable[Comparison]) -> str:
    """Return the section on today's versions: what they are, their summary, and which rows they give no value for."""
    names = {(item.source, item.identity) for item in rebuilt}
    chosen = [item for item in today if (item.source, item.identity) in names]
    versions = dict(sorted({name: version for item in chosen for name, version in item.versions.items()}.items()))
    with_value = [item for item in chosen if item.emulated is not None]
    return (
        f"## With today's versions\n\n{TODAY_HEAD.format(versions=_versions(versions))}{summary(with_value)}\n\n"
        f"Rows that they give no value for:\n\n{_missing(chosen)}"
    )


def _rows(rebuilt: Iterable[Comparison], today: Iterable[Comparison]) -> str:
    """Return the table of all rows, windows left out."""
    errors = {
        (item.source, item.identity, item.metric): f"{error:+.2%}"
        for item in today
        if (error := item.relative_error) is not None
    }
    lines = [
        "| source | row | metric | grade | measured MiB | emulated MiB | error | error with today's versions | versions |",
        "|---|---|---|---|---:|---:|---:|---:|---|",
    ]
    for item in rebuilt:
        if ", window " not in item.metric:
            lines.append(  # noqa: PERF401 # the line is long enough
                f"| {item.source} | {item.identity} | {item.metric} | {item.grade} | {_amount(item.measured)}"
                f" | {_amount(item.emulated or 0)} | {item.relative_error:+.2%}"
                f" | {errors.get((item.source, item.identity, item.metric), '')} | {_versions(item.versions)} |"
            )
    return "\n".join(lines)


def _amount(value: float) -> str:
    """Return bytes in MiB, and what is too small to be bytes as it is: a number or a share."""
    return f"{value / 2**20:.1f}" if value >= SMALLEST_BYTES else f"{value:.4g}"


def _versions(versions: Mapping[str, str]) -> str:
    """Return versions as words."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _missing(comparisons: Iterable[Comparison]) -> str:
    """Return the rows without an emulated value, with the reason."""
    seen = dict.fromkeys(
        (item.source, item.identity, item.note) for item in comparisons if item.emulated is None
    )  # fmt: skip
    lines = ["| source | row | reason |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {source} | {identity} | {(note or '').replace('|', '/')} |" for source, identity, note in seen)]
    )


def main(arguments: list[str]) -> int:
    """Write the report, or with --check say whether it is that of the results."""
    comparisons = load()
    readme = with_table(README.read_text(encoding="utf-8"), comparisons)
    made = {REPORT: text_of(comparisons, load(RESULTS / "today")), PICTURE: scatter(comparisons), README: readme}
    if "--check" in arguments:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
