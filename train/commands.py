"""What the command line does, once its options are read."""

from __future__ import annotations

from pathlib import Path

from shared.console import Progress, byte_count, console
from train.evaluate.report import build_report
from train.generate.generator import load_with_store
from train.trainer.distributed import choose_device


def report_run(
    run: Path, store_path: str | None, out: Path, before: list[str], device: str
) -> None:
    """Write OUT/index.html from a run; data and codec are shown where its store is given."""
    trained = load_with_store(run, store_path, choose_device(device)) if store_path else None
    page = build_report(run, out, before, trained, Progress())
    rest = "" if store_path else "; with --store STORE it shows data and reconstructions, too"
    console.print(f"open {page} ({byte_count(page.stat().st_size)}{rest})", markup=False)
