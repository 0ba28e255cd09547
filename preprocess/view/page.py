"""A page to browse a store: clips by label, person and split, one clip's motion, rejected files.

Gradio makes the page, which loads nothing from other hosts; see `shared.report.serving`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr
from markupsafe import escape

from preprocess.view.browse import (
    ALL,
    PAGE_CLIPS,
    PAGE_FILES,
    Browser,
    Choices,
    files_table,
    page_of,
    reasons_table,
)
from shared.errors import UserError
from shared.report.serving import listen, new_page, sentence, serve_page
from shared.store.paths import Location, storage_errors
from shared.store.store import Store

_MAX_UPLOAD_BYTES = 1
"""Size limit of uploads; the page takes none."""

_CSS = """
#clips .grid-wrap { height: auto; max-height: none; overflow: visible; }
#clips .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(8rem, 40%), 1fr)); }
#clips .caption-label { max-width: 100%; font-size: .75rem; white-space: normal; }
.cards { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.cards figure { margin: 0; }
.cards img { width: 100%; image-rendering: pixelated; }
.cards figcaption, .facts dt { color: var(--body-text-color-subdued); }
.facts { display: grid; grid-template-columns: fit-content(13rem) 1fr; gap: .25rem 1.2rem;
  margin-top: 1rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.wide { overflow-x: auto; }
.wide table, .wide table tr { border: 0; }
.wide table td, .wide table th { border: 0; border-bottom: 1px solid var(--border-color-primary);
  padding: .3rem 1.1rem .3rem 0; text-align: left; vertical-align: top; }
.wide td:not(.short) { min-width: 12rem; overflow-wrap: anywhere; }
.wide table .n { min-width: 0; text-align: right; white-space: nowrap; }
"""

_SCROLL_TO_CLIP = """() => {
  const clip = document.querySelector("#clip");
  if (clip.getBoundingClientRect().top > innerHeight / 2) clip.scrollIntoView();
}"""
"""On a phone, a chosen clip is below the pictures."""

Show = Callable[..., list[Any]]
"""From a page's number and the values of the choices: that number, if there is such a page, a line
on what is shown, and the values of the outputs."""


def build_page(browser: Browser) -> gr.Blocks:
    """Make the page."""
    title = f"Store {browser.store.attributes.dataset}"
    with new_page(title) as page:
        gr.HTML(f"<h1>{escape(title)}</h1><p>{escape(_introduction(browser))}</p>")
        with gr.Tab(f"Clips ({len(browser.store):,})"):
            _build_clips(page, browser)
        with gr.Tab(f"Rejected ({len(browser.rejects):,})"):
            _build_rejects(page, browser)
    return page


def _introduction(browser: Browser) -> str:
    options = browser.store.options
    return (
        f"{browser.store.path}: {len(browser.store):,} clips of {options.frames} frames,"
        f" {options.size}, with vectors of blocks of {options.block} pixels"
    )


def _build_clips(page: gr.Blocks, browser: Browser) -> None:
    """The tab of first frames, and of the one clip that is chosen."""
    with gr.Row():
        choices = [
            _choice("Label", "labels", browser.labels),
            _choice("Person", "persons", browser.subjects),
            _choice("Split", "splits", browser.sides),
        ]
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            pages = _page_inputs("clips")
            gallery = gr.Gallery(
                show_label=False, columns=4, height="auto", object_fit="contain",
                allow_preview=False, interactive=False, buttons=[], elem_id="clips",
            )  # fmt: skip
        with gr.Column(scale=2, min_width=300):
            number = gr.Number(
                None, label="Clip", info="choose a picture, or give a number", elem_id="clip"
            )
            details = gr.HTML(elem_id="details")
    on_page = gr.State([])

    def show(wanted: float, label: int, subject: int, side: int) -> list[Any]:
        matching = browser.matching(label, subject, side)
        at, positions, line = page_of(len(matching), wanted, PAGE_CLIPS)
        tiles = browser.tiles(matching[positions].tolist())
        pictures = [(tile.picture, tile.caption) for tile in tiles]
        return [at, line, pictures, [tile.index for tile in tiles]]

    def choose(indices: list[int], event: gr.SelectData) -> list[Any]:
        if event.index not in range(len(indices)):
            raise sentence("choose one of the clips on the page")
        index = indices[event.index]
        return [index, look(index)]

    def look(index: float | None) -> str:
        with _sentences():
            if index is None:
                raise UserError("give the number of a clip")
            return browser.clip(index).html

    _bind(page, show, choices, pages, [gallery, on_page])
    chosen = gallery.select(choose, on_page, [number, details], show_progress_on=details)
    chosen.then(None, js=_SCROLL_TO_CLIP)
    number.submit(look, number, details)


def _build_rejects(page: gr.Blocks, browser: Browser) -> None:
    """The tab of rejected files."""
    if not browser.rejects:
        gr.HTML("<p>No file was rejected, and no clip left out.</p>")
        return
    gr.HTML(reasons_table(browser.rejects))
    choices = [_choice("Reason", "reasons", browser.reasons)]
    pages = _page_inputs("files")
    files = gr.HTML(elem_id="files")

    def show(wanted: float, reason: int) -> list[Any]:
        rejects = browser.files(reason)
        at, positions, line = page_of(len(rejects), wanted, PAGE_FILES)
        return [at, line, files_table(rejects[positions])]

    _bind(page, show, choices, pages, [files])


def _choice(label: str, name: str, choices: Choices) -> gr.Dropdown:
    return gr.Dropdown(
        [("all", ALL), *choices], value=ALL, label=label, min_width=160, elem_id=name,
        visible=bool(choices),
    )  # fmt: skip


def _page_inputs(name: str) -> list[Any]:
    """The page's number, buttons to turn pages, and a line on what is shown."""
    with gr.Row():
        number = gr.Number(1, label="Page", min_width=100, elem_id=f"{name}-page")
        back = gr.Button("Back", size="sm", min_width=60, elem_id=f"{name}-back")
        on = gr.Button("Next", size="sm", min_width=60, elem_id=f"{name}-on")
    return [number, back, on, gr.HTML(elem_id=f"{name}-line")]


def _bind(
    page: gr.Blocks, show: Show, choices: Sequence[Any], pages: Sequence[Any], shown: Sequence[Any]
) -> None:
    """Show the first page at the start and after each choice, and the others when asked for."""
    number, back, on, line = pages

    def turn(step: int, first: bool = False) -> Callable[..., list[Any]]:
        def answer(at: float | None, *values: int) -> list[Any]:
            with _sentences():
                return show(1 if first or at is None else at + step, *values)

        return answer

    places = {"inputs": [number, *choices], "outputs": [number, line, *shown]}
    page.load(turn(0, first=True), **places)
    for choice in choices:
        choice.input(turn(0, first=True), **places)
    number.submit(turn(0), **places)
    back.click(turn(-1), **places)
    on.click(turn(1), **places)


@contextmanager
def _sentences() -> Iterator[None]:
    """Show errors of the visitor, of the store and of its place as messages."""
    try:
        yield
    except storage_errors(UserError) as error:
        raise sentence(str(error)) from None


def view(store: Location, host: str, port: int) -> None:
    """Serve the page until a signal ends it.

    Args:
        store: sealed.
        host: address to listen on.
        port: of it; 0: any free one.

    Raises:
        UserError: the store cannot be used, or the address is taken.
    """
    with listen(host, port) as sock:
        serve_page(build_page(Browser(Store(store))), sock, _MAX_UPLOAD_BYTES, _CSS)
