"""A page to look at, made from a run, its store and its evaluation."""

from train.report.build import build_report

__all__ = ["build_report"]
