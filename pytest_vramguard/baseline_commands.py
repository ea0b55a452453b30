"""What `vramguard baseline` does: each function is a subcommand, and returns the text to print and the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pytest_vramguard.baseline import Comparison
from pytest_vramguard.baselines import BaselineStore, accept
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.reading import Measurement
from pytest_vramguard.render import baselines as text
from pytest_vramguard.report_table import ReportError, report_from_table
from pytest_vramguard.tables import reading

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.baseline import Baseline
    from pytest_vramguard.report import CaseResult, Report

Answer: TypeAlias = tuple[str, int]
"""The text to print, and the exit status."""


def list_all(folder: Path) -> Answer:
    """Return one line for each baseline below `folder`.

    Raises:
        BaselineError: as `show`.
    """
    return text.render_list(_all_in(BaselineStore(folder=folder))) or f"{folder}: no baseline\n", 0


def show(folder: Path, name: str) -> Answer:
    """Return everything about each baseline whose case has `name` in its id.

    Raises:
        BaselineError: there is none, or a file is faulty; all faulty files together.
    """
    found = [baseline for baseline in _all_in(BaselineStore(folder=folder)) if name in baseline.case]
    if not found:
        message = f"{folder}: no baseline of a case with {name!r} in its id; list them with: vramguard baseline list"
        raise BaselineError(message)
    return text.render_whole(found), 0


def diff(folder: Path, report_path: Path) -> Answer:
    """Return how each case of a report differs from its baseline; the status is 0 whether it does or not.

    Raises:
        ReportError: the report is faulty.
        BaselineError: a baseline is faulty.
    """
    store = BaselineStore(folder=folder)
    return "".join(_difference(case, store) for case in _report_at(report_path).cases), 0


def accept_report(folder: Path, report_path: Path) -> Answer:
    """Make a baseline of each case of a report that may be one; the status is 1 if there is none or one was refused.

    Raises:
        ReportError: the report is faulty.
        BaselineError: a former baseline is faulty, in which case nothing is replaced, or one cannot be written.
    """
    report = _report_at(report_path)
    accepted = accept(report.cases, BaselineStore(folder=folder), tool=report.tool)
    if not accepted:
        return f"{report_path}: no case\n", 1
    return text.render_accepted(accepted), int(any(acceptance.refusal for acceptance in accepted))


def prune(folder: Path, report_path: Path, *, only_listed: bool) -> Answer:
    """Remove the baselines of cases that a report of the whole suite does not have, unless they are to be listed only.

    Only targets and kinds of device that are in the report are looked at. What killed processes have left goes, too.

    Raises:
        ReportError: the report is faulty.
        BaselineError: a file cannot be removed.
    """
    store = BaselineStore(folder=folder)
    cases = _report_at(report_path).cases
    kept = {store.path_of(case.id, case.target, case.device.kind) for case in cases}
    folders = {path.parent for path in kept}
    stale = [path for path in (*store.paths(), *store.remains()) if path.parent in folders and path not in kept]
    if not only_listed:
        for path in stale:
            _remove(path)
    word = "would remove" if only_listed else "removed"
    return "".join(f"{word} {path}\n" for path in stale) or f"{folder}: nothing to remove\n", 0


def _all_in(store: BaselineStore) -> list[Baseline]:
    """Return every baseline.

    Raises:
        BaselineError: some are faulty; all faults together.
    """
    found, faults = [], []
    for path in store.paths():
        try:
            found.append(store.read(path))
        except BaselineError as fault:
            faults.append(str(fault))
    if faults:
        raise BaselineError("\n".join(faults))
    return found


def _difference(case: CaseResult, store: BaselineStore) -> str:
    baseline = store.find(case.id, case.target, case.device.kind)
    place = f"{case.id} on {case.target} ({case.device.kind})"
    if not isinstance(case.reading, Measurement):
        return f"{place}: not measured to the end\n"
    if baseline is None:
        return f"{place}: no baseline\n"
    return text.render_difference(Comparison(baseline=baseline, measurement=case.reading, environment=case.environment))


def _report_at(path: Path) -> Report:
    with reading(path, ReportError) as root:
        document = root.mapping
    return report_from_table(document, str(path))


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as fault:
        message = f"{path}: {fault.strerror}, expected to remove the file; correct the permissions of its folder"
        raise BaselineError(message) from fault
