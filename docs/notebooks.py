"""Notebooks as pages of the site: MkDocs calls these functions, see `hooks` in mkdocs.yml.

Text and code are shown, as the files hold no outputs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).with_name("notebooks")


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, which stays there to be downloaded."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        content = page(json.loads(path.read_text(encoding="utf-8")), path.name)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to notebooks lead to their pages."""
    return re.sub(r"\]\((notebooks/\w+)\.ipynb\)", r"](\1.md)", markdown)


def page(notebook: dict[str, Any], name: str) -> str:
    """A notebook as Markdown, with a link to its file."""
    cells = [
        source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        for cell in notebook["cells"]
        if (source := "".join(cell["source"]))
    ]
    return "\n\n".join([*cells, f"[Download this notebook]({name})\n"])
