"""The page's server without a browser; tests/browser/test_view.py has the page itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.stores import write_store

Cli = Callable[..., tuple[int, str, str]]


def test_without_gradio_the_command_names_the_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, errors = cli("view", tmp_path)
    assert code == 2
    assert errors == "Error: view needs gradio: pip install 'dvdm[serve]'\n"


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    pytest.importorskip("gradio", reason="no gradio: pip install 'dvdm[serve]'")


@pytest.mark.usefixtures("gradio")
def test_a_place_without_a_store_is_an_error(tmp_path: Path, cli: Cli) -> None:
    code, _, errors = cli("view", tmp_path, "--port", 0)
    assert (code, errors) == (
        2, f"Error: no store at {tmp_path}; make one with: dvdm-preprocess run DATASET\n"
    )  # fmt: skip


@pytest.mark.usefixtures("gradio")
def test_a_store_that_lacks_a_shard_is_an_error(tmp_path: Path, cli: Cli) -> None:
    write_store(tmp_path / "store")
    shard = next((tmp_path / "store" / "motion" / "c" / "1").rglob("0/0/0/0"))
    shard.unlink()
    code, _, errors = cli("view", tmp_path / "store", "--port", 0)
    assert code == 2
    assert "lacks 1 of its shards (motion/c/1/0/0/0/0)" in errors


@pytest.mark.usefixtures("gradio")
def test_a_port_that_is_taken_is_an_error(tmp_path: Path, cli: Cli) -> None:
    """Before the store is opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = cli("view", tmp_path, "--port", port)
    assert code == 2
    assert f"--host 127.0.0.1 --port {port}: " in errors
