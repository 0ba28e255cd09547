"""A page to look at, made from a store alone."""

from preprocess.report.page import build_report

__all__ = ["build_report"]
