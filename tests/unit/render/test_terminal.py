"""The text at the end of a run and the account of a case, compared as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vramguard.reading import Longest, OutsideMemory, Parts
from pytest_vramguard.render.terminal import failure_text, render
from pytest_vramguard.report import CaseResult, Report
from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome
from tests import samples

GOLD = Path(__file__).parents[2] / "gold"


def gold(name: str) -> str:
    """Return the expected text of that name, without the newline that ends the file."""
    return (GOLD / name).read_text(encoding="ascii").removesuffix("\n")


def test_report_with_a_case_of_each_kind() -> None:
    """One row a case, then the advice, then the legend of what the run had: emulated cards and step times."""
    assert gold("report.txt") == render(samples.mixed_report(), width=120).removesuffix("\n")


def test_emulated_report_has_no_step_columns() -> None:
    """Without a timed step there is no column for step times, and names that fit are whole."""
    text = render(samples.report(), width=120)

    assert [
        "test                                     target   ran on    allocated  reserved  device   share  outcome",
        "tests/test_fit.py::test_7b_nf4[rtx3060]  rtx3060  emulated       4.56      5.00    5.25  43.8 %  PASS",
        "",
    ] == text.splitlines()[:3]


def test_real_card_report_does_not_speak_of_emulation() -> None:
    """The legend explains only what the table shows."""
    assert "emulated" not in render(samples.report(samples.real_card_case()))


def test_narrow_terminal() -> None:
    """In a narrow terminal names are shortened in the middle, the end longer than the start, and the prose is wrapped."""
    assert gold("report_narrow.txt") == render(samples.mixed_report(), width=60).removesuffix("\n")


@pytest.mark.parametrize(
    ("missing", "name"),
    [(0, "tests/test_fit.py::test_7b_nf4[rtx3060]"), (1, "tests/test_...py::test_7b_nf4[rtx3060]")],
)
def test_name_is_shortened_only_if_it_must_be(missing: int, name: str) -> None:
    """A name that fits to the character is left whole, and one that does not is cut to fit."""
    table_width = len(render(samples.report(), width=200).splitlines()[0])

    head, row = render(samples.report(), width=table_width - missing).splitlines()[:2]

    assert (name, table_width - missing) == (row.split()[0], len(head))


def test_step_times_are_the_median_of_the_device() -> None:
    """Step time is the median on the device clock, and tokens a second count only steps whose tokens are known."""
    steps = (samples.step(0.1), samples.step(0.2, tokens=None), samples.step(0.4))
    case = samples.case(device=samples.device(kind="cuda"), reading=samples.measurement(steps=steps))

    row = render(samples.report(case), width=200).splitlines()[1]

    assert "43.8 %  200.0 ms      2048  PASS" == row[row.index("43.8 %") :]


def test_empty_report() -> None:
    """A run without a case says so."""
    assert "no case ran\n" == render(Report(tool="pytest-vramguard 0.1.0", cases=()))


def test_report_is_ascii() -> None:
    """A name outside ASCII is escaped, whatever the terminal can show."""
    text = render(samples.report(samples.case(id="tests/été.py::test_x")))

    assert "tests/\\xe9t\\xe9.py::test_x" == text.splitlines()[1].split()[0]


def test_failure_on_a_real_card() -> None:
    """A failure says each gate that failed, the peaks, their parts, phases, step times and every doubt."""
    assert gold("failure_real_card.txt") == failure_text(samples.real_card_case())


def test_failure_by_out_of_memory() -> None:
    """Out of memory is told with PyTorch's own first line and the parts at the peak that was reached."""
    assert gold("failure_out_of_memory.txt") == failure_text(samples.mixed_report().cases[1])


def test_unjudged() -> None:
    """A case without numbers says the gates that could not judge, the reason and the next step."""
    assert gold("unjudged.txt") == failure_text(samples.mixed_report().cases[3])


def test_no_gate() -> None:
    """A measured case that no gate judged says how to ask for one."""
    lines = failure_text(samples.case(verdicts=())).splitlines()

    assert [
        "UNJUDGED: tests/test_fit.py::test_7b_nf4[rtx3060] on rtx3060 (emulated)",
        "no gate was asked; next step: give the marker a max_gb or a band",
    ] == lines[:2]


def test_gate_that_could_not_judge_a_measured_case() -> None:
    """A gate without a limit says so, and why."""
    unjudged = samples.verdict(gate="growth", outcome=Outcome.UNJUDGED, limit=None, reason="no baseline")

    assert [
        "growth UNJUDGED: peak device bytes: observed 5637144576 bytes (5.25 GiB), limit none",
        "  no baseline",
    ] == failure_text(samples.case(verdicts=(unjudged,))).splitlines()[1:3]


def test_passing_gates_are_left_out_of_a_failure() -> None:
    """Where one gate failed and another passed, only the failure is told."""
    case = samples.case(verdicts=(samples.verdict(), samples.band_verdict(outcome=Outcome.FAIL)))

    gates = [line.split(":")[0] for line in failure_text(case).splitlines()[1:] if line.startswith(("fit", "band"))]

    assert ["band FAIL"] == gates


def test_steps_without_tokens() -> None:
    """Where no step said its tokens, no rate is shown."""
    case = samples.case(reading=samples.measurement(steps=(samples.step(0.1, tokens=None),), step_count=3))

    assert "steps: 3 ran, 1 timed, median 100.0 ms" == failure_text(case).splitlines()[-1]


def test_managed_and_pinned_memory() -> None:
    """What a case had besides device memory stands in the notes, and where managed memory was; what was not there does not."""
    outside = OutsideMemory(managed_bytes=3 * GIB, managed_host_bytes=GIB, pinned_bytes=GIB // 2)
    pinned = replace(outside, managed_bytes=0, managed_host_bytes=0)
    readings = [samples.out_of_memory(outside=outside), samples.measurement(outside=pinned)]

    assert [
        "notes: managed memory 3.00 GiB, of which 1.00 GiB on the host; pinned host memory 0.50 GiB",
        "notes: pinned host memory 0.50 GiB",
    ] == [failure_text(samples.case(reading=reading)).splitlines()[-1] for reading in readings]


def test_nothing_allocated() -> None:
    """A case that ended before anything was allocated has parts of zero and no phases."""
    reading = samples.out_of_memory(parts=Parts(), peak_allocated_bytes=0, peak_reserved_bytes=0, context_bytes=GIB, phases=())

    assert [
        "peaks: allocated 0.00 GiB, reserved 0.00 GiB, device 1.00 GiB (reserved + 1.00 GiB outside the allocator)",
        "parts of the allocated peak:",
        "  weights        0.00 GiB    0.0 %",
        "  gradients      0.00 GiB    0.0 %",
        "  optimizer      0.00 GiB    0.0 %",
        "  activations    0.00 GiB    0.0 %",
        "  other          0.00 GiB    0.0 %",
    ] == failure_text(samples.case(reading=reading, verdicts=(samples.verdict(),))).splitlines()[1:]


def failing(*causes: int) -> CaseResult:
    """Return the real card's case with a gate for each number, which has as many causes, and a snapshot."""
    verdicts = (
        samples.verdict(
            gate=f"gate-{index}", outcome=Outcome.FAIL, causes=tuple(f"cause {index}.{number}" for number in range(count))
        )
        for index, count in enumerate(causes)
    )
    return replace(samples.real_card_case(), verdicts=tuple(verdicts), snapshot="left/case.pickle")


def test_a_snapshot_is_told_last() -> None:
    """The path of a snapshot ends the account, with what opens it."""
    assert "snapshot for pytorch.org/memory_viz: left/case.pickle" == failure_text(failing(0)).splitlines()[-1]


def test_parts_are_folded_to_make_room() -> None:
    """Where the parts' table would take more than 15 lines, they are one line, and every cause is told."""
    lines = failure_text(failing(6)).splitlines()

    assert [f"  cause 0.{number}" for number in range(6)] == lines[3:9]
    assert (
        "parts of the allocated peak: weights 6.00 GiB, gradients 6.00 GiB, optimizer 3.00 GiB, activations 5.00 GiB, "
        "other 0.00 GiB"
    ) == lines[10]


def test_the_last_causes_go_first() -> None:
    """Where even that is too much, causes are left out from the end, and no gate."""
    lines = failure_text(failing(3, 6)).splitlines()

    assert 15 == len(lines)
    assert ["  cause 0.0", "  cause 0.1", "  cause 0.2", "  cause 1.0"] == [line for line in lines if "cause" in line]
    assert ["gate-0 FAIL", "gate-1 FAIL"] == [line.split(":")[0] for line in lines if line.startswith("gate")]


def test_a_cause_of_two_gates_is_told_once() -> None:
    """Two gates that compare with the same baseline have the same causes."""
    grown = samples.verdict(gate="growth", outcome=Outcome.FAIL, causes=("parts: weights +1 bytes",))
    lines = failure_text(samples.case(verdicts=(grown, replace(grown, metric="peak allocated bytes")))).splitlines()

    assert 1 == lines.count("  parts: weights +1 bytes")


@pytest.mark.parametrize(
    "case",
    [
        samples.real_card_case(),
        failing(0, 0, 0, 0),
        failing(6, 6, 3),
        samples.case(
            reading=samples.not_measured("first line\nsecond line"), verdicts=(samples.verdict(), samples.band_verdict())
        ),
        samples.case(
            reading=samples.out_of_memory(notes=("one\ntwo", "three")),
            verdicts=(
                samples.verdict(outcome=Outcome.FAIL, reason="one\ntwo\nthree"),
                samples.band_verdict(outcome=Outcome.FAIL, reason="one\ntwo\nthree"),
            ),
        ),
    ],
)
def test_failure_is_short(case: CaseResult) -> None:
    """However much there is to say, and whatever lines third-party texts bring along, a failure takes at most 15 lines."""
    assert len(failure_text(case).splitlines()) <= 15


def test_sensors_are_told_where_time_is_judged() -> None:
    """What the card's sensors said is a line of its own where a slowdown was asked about, and none elsewhere."""
    said = (
        "card during the timed steps: clock 1395 MHz or more; temperature 71 C or less; power 150 W or less; "
        "clock held back by sw_power_cap, hw_thermal_slowdown"
    )
    judged = replace(samples.real_card_case(), verdicts=(samples.verdict(gate="slowdown", outcome=Outcome.FAIL),))

    assert said in failure_text(judged).splitlines()
    assert said not in failure_text(samples.real_card_case()).splitlines()


def test_the_largest_that_fits_is_shown() -> None:
    """A failure says what was looked for, counts in its unit, and says that the peaks are those of the answer."""
    verdict = samples.verdict(
        gate="longest",
        metric="largest seq_len that fits",
        outcome=Outcome.FAIL,
        observed=1399,
        limit=1400,
        unit="tokens",
        reason="1399 tokens fit, 1 fewer than the 1400 of min_seq_len",
    )
    reading = samples.measurement(longest=Longest(quantity="seq_len", value=1399))

    lines = failure_text(samples.case(reading=reading, verdicts=(verdict,))).splitlines()

    assert "longest FAIL: largest seq_len that fits: observed 1,399 tokens, limit 1,400 tokens" == lines[1]
    assert "largest seq_len that fits: 1399, whose peaks these are" in lines
