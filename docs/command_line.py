"""Write command_line.md, the reference of both command lines, from their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).with_name("command_line.md")
WIDTH = 96
INTRODUCTION = """# Command line

Exit codes: 0 done, 2 the user's mistake (one message, no traceback), 130 interrupted, 143
terminated, 1 anything else. An interrupted command, given again, continues where it was.

`make docs` writes this page from the output of `--help`.
"""


def reference() -> str:
    """Return the page: the help text of every visible command."""
    from preprocess.__main__ import app as preprocess
    from train.__main__ import app as train

    parts = [INTRODUCTION]
    for program, app in (("preprocess", preprocess), ("train", train)):
        group = plain(app)
        parts.append(f"## dvdm-{program}\n\n{group.help or ''}".rstrip() + "\n")
        for name, command in group.commands.items():
            if not command.hidden:
                text = help_text(command, f"dvdm-{program} {name}")
                parts.append(f"### {program} {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def plain(app: typer.Typer) -> Any:
    """Return the Click group of a program, set to print help without frames or colours."""
    group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        command.rich_markup_mode = None
    return group


def help_text(command: Any, usage: str) -> str:
    """Return what `--help` prints, at one width on every terminal."""
    context = command.context_class(command, info_name=usage)
    context.terminal_width = context.max_content_width = WIDTH
    return "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
