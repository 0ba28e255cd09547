"""Servers of pages made with Gradio: for this machine alone by default, with temporary files alone.

Gradio belongs to the extra `serve`. It reads its environment when it is imported, which is why
the functions here import it, within `page_folder`.
"""

from __future__ import annotations

import html
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.console import EXIT_BY_SIGNAL, console, errors, hush
from shared.errors import UserError

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

Host = Annotated[
    str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets other machines in.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any free one.")]
LOOPBACK, PORT = "127.0.0.1", 7860
"""Defaults of `Host` and `Port`."""

QUEUE = 8
"""Requests that wait, at most; one is answered at a time."""

_KEPT_SECONDS, _CLEANED_EVERY_SECONDS = 3600, 600
_FONTS = ["system-ui", "sans-serif"]


@contextmanager
def page_folder(command: str) -> Iterator[Path]:
    """Make the folder of a server's files, which is removed at the end, on SIGTERM, too.

    Args:
        command: that serves, for the message.

    Raises:
        UserError: Gradio is not installed.
    """
    # A server ends in order, then raises the signal again.
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(EXIT_BY_SIGNAL + number))
    try:
        with tempfile.TemporaryDirectory(prefix="dvdm-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            if find_spec("gradio") is None:
                raise UserError(f"{command} needs gradio: pip install 'dvdm[serve]'")
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, previous)


def listen(host: str, port: int) -> socket.socket:
    """Take the address of a server.

    Raises:
        UserError: it cannot be used, or is taken.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}; choose another --port; 0: any free one"
        ) from None


def new_page(title: str) -> gr.Blocks:
    """Make an empty page, to be filled in a `with` block."""
    import gradio as gr

    return gr.Blocks(
        title=title, analytics_enabled=False, fill_width=True,
        delete_cache=(_CLEANED_EVERY_SECONDS, _KEPT_SECONDS),
    ).queue(max_size=QUEUE, default_concurrency_limit=1)  # fmt: skip


def sentence(message: str) -> gr.Error:
    """Make the exception that shows a message on the page; options lose their dashes."""
    import gradio as gr

    plain = html.escape(message.removeprefix("--"))
    return gr.Error(plain, duration=None, title="", print_exception=False)


def serve_page(page: gr.Blocks, sock: socket.socket, max_upload_bytes: int, css: str = "") -> None:
    """Serve a page until a signal ends it.

    Args:
        page: from `new_page`.
        sock: from `listen`.
        max_upload_bytes: size limit of a visitor's file.
        css: style added to the page.
    """
    import uvicorn

    app = _web_app(page, max_upload_bytes, css)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    address, port = sock.getsockname()[:2]
    console.print(f"http://{f'[{address}]' if ':' in address else address}:{port} (Ctrl-C ends)")
    if not ip_address(address).is_loopback:
        errors.print(f"Anyone who reaches {address} can use this page")
    hush()
    server.run(sockets=[sock])


def _web_app(page: gr.Blocks, max_upload_bytes: int, css: str) -> FastAPI:
    """The page behind a web server: nothing is counted, recorded or shared."""
    import gradio as gr
    from fastapi import FastAPI

    return gr.mount_gradio_app(
        FastAPI(), page, path="/", footer_links=[], run_history=False, show_error=True,
        max_file_size=max_upload_bytes, ssr_mode=False, enable_monitoring=False, pwa=False,
        mcp_server=False, theme=gr.themes.Default(font=_FONTS, font_mono=["monospace"]), css=css,
    )  # fmt: skip
