"""A report as plain dicts, lists, text and numbers, and back.

This form is what `--vram-json` writes, what travels between the processes of pytest-xdist and what later runs compare with.
What follows from other numbers (`peak_device_bytes`, `step_seconds`, `void_reason`, `outcome`) is written for other programs
and is not read back.
Texts are not empty and the phases of a reading have names of their own; that is the meter's and the device's part.
"""

from pytest_vramguard.report_table.readings import ReportError, measurement_in, reading_from_table, reading_to_table
from pytest_vramguard.report_table.reports import SCHEMA, case_from_table, case_to_table, report_from_table, report_to_table

__all__ = [
    "SCHEMA",
    "ReportError",
    "case_from_table",
    "case_to_table",
    "measurement_in",
    "reading_from_table",
    "reading_to_table",
    "report_from_table",
    "report_to_table",
]
