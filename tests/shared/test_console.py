from __future__ import annotations

import io
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shared.console import PlainConsole, Progress, run_command, shell_command


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_commands_can_be_pasted(parts: list[str]) -> None:
    """Whatever the parts hold, bash gives the program the same bytes."""
    command = shell_command("printf", r"%s\0", *parts, "end")
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout == b"".join(os.fsencode(part) + b"\0" for part in [*parts, "end"])
    assert command.isprintable()


def test_bytes_that_are_no_text_can_be_pasted() -> None:
    name = os.fsdecode(b"a\xff'\\\n$(x)")
    done = subprocess.run(["bash", "-c", shell_command("printf", "%s", name)], capture_output=True)
    assert done.stdout == os.fsencode(name)


def test_names_are_neither_markup_nor_commands_to_the_terminal() -> None:
    file = io.StringIO()
    PlainConsole(file=file, force_terminal=True, width=200).print("[red]a[/] :dog: <b> \x1b[31m\r")
    assert file.getvalue() == "[red]a[/] :dog: <b> \\x1b[31m\\x0d\n"


SHOW = r"""
import sys
from shared.console import console, errors, run_command
from shared.errors import UserError

def show():
    console.print("caf\u00e9 \udcff")
    raise UserError("\u96ea \udcff")

sys.exit(run_command(show, "train"))
"""


@pytest.mark.parametrize("name", ["torch", "torch.nn"])
def test_what_is_not_installed_is_named_with_its_remedy(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def start() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert run_command(start, "train") == 2
    assert capsys.readouterr().err == f"Error: dvdm-train needs {name}: pip install 'dvdm[train]'\n"


def test_a_module_of_ours_that_is_not_there_is_a_fault() -> None:
    def start() -> None:
        raise ModuleNotFoundError("No module named 'train.new'", name="train.new")

    with pytest.raises(ModuleNotFoundError):
        run_command(start, "train")


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (2, b"caf\\xe9 \\udcff\n")
    assert done.stderr == b"Error: \\u96ea \\udcff\n"


def output(seconds: float, patience_seconds: float) -> str:
    """Output of a bar of two units that take `seconds` together."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console).bar("work", 2, "units", patience_seconds=patience_seconds) as bar:
        for _ in range(2):
            time.sleep(seconds / 2)
            bar()
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_a_bar_appears_immediately() -> None:
    assert "2 of 2 units" in output(0, patience_seconds=0)


def test_a_patient_bar_appears_only_for_long_work() -> None:
    assert output(0, patience_seconds=60) == ""
    assert "2 of 2 units" in output(0.2, patience_seconds=0.05)
