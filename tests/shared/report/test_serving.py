"""Folder and address of a page's server; the pages have tests of their own."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.report import serving


def test_the_folder_is_removed_when_a_signal_ends_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "elsewhere")
    monkeypatch.setattr(serving, "find_spec", lambda name: name)  # as if Gradio were installed
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, serving.page_folder("view") as folder:
        (folder / "picture.png").touch()
        assert Path(os.environ["GRADIO_TEMP_DIR"]) == folder
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert not folder.exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_taken_once(host: str) -> None:
    try:
        sock = serving.listen(host, 0)
    except UserError:
        pytest.skip(f"this machine has no {host}")
    with sock:
        port = sock.getsockname()[1]
        with pytest.raises(UserError, match=f"--host {host} --port {port}: .*; choose another"):
            serving.listen(host, port)
        with socket.create_connection((host, port)):
            pass


def test_a_host_that_is_no_address_is_an_error() -> None:
    with pytest.raises(UserError, match=r"--host 300\.1\.1\.1 --port 0: "):
        serving.listen("300.1.1.1", 0)
