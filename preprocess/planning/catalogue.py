"""What `datasets` shows: every data set there is a manifest for, and whether it is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from preprocess.planning.discover import matches, walk
from shared.manifest import Manifest, load_manifest, manifest_names


def catalogue(data: Path) -> list[dict[str, Any]]:
    """Plain facts on every data set.

    Args:
        data: folder that holds the data sets, each in a folder of its own name.
    """
    return [_facts(load_manifest(name), data / name) for name in manifest_names()]


def print_catalogue(console: Console, facts: list[dict[str, Any]]) -> None:
    """One row for each data set."""
    table = Table(show_lines=True)
    for column in ("data set", "where", "present"):
        table.add_column(column, no_wrap=True)
    table.add_column("what and how many", overflow="fold")
    for entry in facts:
        present = "yes" if entry["present"] else "no"
        what = f"{entry['title']}: {entry['holds']}. {_fetching(entry)}"
        table.add_row(entry["name"], entry["root"], present, what)
    console.print(table)
    console.print("Get one: python -m preprocess download NAME", highlight=False)


def _facts(manifest: Manifest, root: Path) -> dict[str, Any]:
    sizes = [file.size_bytes for file in manifest.files]
    return {
        "name": manifest.name,
        "title": manifest.title,
        "holds": manifest.holds,
        "homepage": manifest.homepage,
        "licence": manifest.licence,
        "citation": manifest.citation,
        "obtain": manifest.obtain,
        "splits": list(manifest.splits),
        "files": len(sizes),
        "bytes": sum(size for size in sizes if size) if sizes and all(sizes) else None,
        "root": str(root),
        "present": root.is_dir() and _has_any(root, manifest),
    }


def _has_any(root: Path, manifest: Manifest) -> bool:
    return any(problem is None and matches(name, manifest.glob) for name, problem in walk(root))


def _fetching(entry: dict[str, Any]) -> str:
    if not entry["files"]:
        return "By hand." if entry["homepage"] != "none" else "Nothing to fetch."
    size = f"{entry['bytes'] / 1e9:.1f} GB" if entry["bytes"] else "size not stated"
    return f"{entry['files']} {'file' if entry['files'] == 1 else 'files'} to fetch, {size}."
