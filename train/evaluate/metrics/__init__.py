"""Metrics of clips and of their distributions."""
