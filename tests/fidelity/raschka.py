"""Sebastian Raschka's measurements: GPT-2 124M written from scratch, ViT-L/16 and DistilBERT, all with fixed shapes."""

from __future__ import annotations

from typing import Final

from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

BYTES_PER_UNIT: Final = {"GiB": 2.0**30, "GB (1e9)": 1e9}


def plan(row: Row) -> Plan:
    """Return how to rebuild a row."""
    metric = row["metric"]
    identity = f"{row['model']} {row.get('step') or row.get('script') or row['method']}"
    measured = {metric: row["value"] * BYTES_PER_UNIT[row["unit"]]}
    return Plan(source="raschka", identity=identity, grade=row["grade"], measured=measured, run=_run(row))


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings, metric = dict(row["settings"]), row["metric"]
    if row["model"].startswith("GPT-2"):
        return Run(
            script="gpt2",
            era="torch-2.7.1",
            card="a100-80",
            settings=settings,
            counters=lambda counted: {metric: counted["reserved_bytes"]},
            lowered="torch 2.7.1 stands for 2.6.0",
        )
    if row["model"].startswith("torchvision vit_l_16") and settings.get("gradient_accumulation", 1) == 1:
        return Run(
            script="vision",
            era="torch-2.1.2",
            card="a100-80",
            settings=settings,
            counters=lambda counted: {metric: counted["max_reserved_bytes"]},
            packages_today=("torchvision",),
            lowered="the convolution of patches runs without cuDNN; torch 2.1.2 stands for a nightly build of 2.1",
        )
    if row["model"].startswith("distilbert"):
        return Run(
            script="distilbert",
            era="torch-2.1.2",
            card="a100-80",
            settings=settings,
            counters=lambda counted: {metric: counted["max_reserved_bytes"]},
            lowered="torch 2.1.2 and transformers 4.36.2 stand for 2.0.0 and 4.28.1",
        )
    return NotRebuilt(reason="the script of this row is not rebuilt here")
