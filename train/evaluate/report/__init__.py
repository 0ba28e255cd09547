"""A page to look at, made from what a run left behind, and from its store where that is given."""

from train.evaluate.report.page import build_report

__all__ = ["build_report"]
