"""Evaluate, compare and show runs; nothing outside this package but the command line imports it."""
