"""Data sets: download, layouts that a glob cannot describe, and the rendered gestures."""
