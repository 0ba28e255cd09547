"""Evaluation: scores, comparisons and pages. Nothing below imports it."""
