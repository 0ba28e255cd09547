from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from shared.report import html

VOID = {"meta", "link", "img", "br"}
NASTY = """<script>alert("x & y's")</script>"""


class Tree(HTMLParser):
    """Reads a page as a browser would: text by element, and whether elements close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.append((self.open[-1], data))

    def found(self, tag: str) -> list[str]:
        return [data for where, data in self.text if where == tag]


def picture(kind: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, kind, **options)
    return file.getvalue()


def everything(words: str) -> str:
    """A page with every element, all saying `words`."""
    return html.page(
        words,
        html.section(
            words,
            html.heading(words),
            html.paragraph(words, soft=True),
            html.paragraph(html.join(words, html.bold(words), html.code(words))),
            html.figure(html.image(picture("PNG"), words, enlarge=True), words, wide=True),
            html.cards([html.pair(html.image(picture("PNG"), words), html.paragraph(words))]),
            html.table([(words, 1)], (words, words), caption=words),
            html.facts([(words, words)]),
            html.fold(words, html.verdict(words, good=True)),
        ),
        html.commands([(words, 1.0)], words),
        lead=words,
    )


def test_whatever_stands_in_a_name_is_shown_and_not_run() -> None:
    tree = Tree(everything(NASTY))
    plain = Tree(everything("plain"))
    assert [tag for tag, _ in tree.attributes] == [tag for tag, _ in plain.attributes]
    for tag in ("title", "h1", "h2", "h3", "p", "b", "code", "figcaption", "caption", "th", "td"):
        assert NASTY in "".join(tree.found(tag))
    alt = [given["alt"] for tag, given in tree.attributes if tag == "img"]
    assert alt == [NASTY] * len(alt)


def test_a_page_needs_nothing_from_elsewhere_and_no_script() -> None:
    tree = Tree(everything("plain"))
    addresses = [
        value
        for _, given in tree.attributes
        for name, value in given.items()
        if name in {"src", "href"}
    ]
    assert addresses and all(value and value.startswith("data:") for value in addresses)
    assert not {tag for tag, _ in tree.attributes} & {"script", "iframe", "object"}
    assert "url(" not in everything("plain") and "@import" not in everything("plain")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "WEBP"])
def test_pictures_are_in_the_page_as_they_were_given(kind: str) -> None:
    data = picture(kind)
    uri = html.data_uri(data)
    found = re.fullmatch(rf"data:image/{kind.lower()};base64,(.*)", uri)
    assert found and b64decode(found[1]) == data


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        html.data_uri(b"<svg/>")


def test_markup_is_not_escaped_twice() -> None:
    assert html.bold(html.code("a<b")) == "<b><code>a&lt;b</code></b>"
    assert html.join("<", html.Html("<i>x</i>")) == "&lt;<i>x</i>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (25.2443, "25.24"),
        (0.00001234, "1.234e-05"),
        (1234567.75, "1,234,567.8"),
        (22.2, "22.20"),
        (2.5e9 / 3, "8.333e+08"),
        (0.0, "0"),
        (float("nan"), "nan"),
        (None, "–"),
        (True, "yes"),
        ("1 < 2", "1 &lt; 2"),
    ],
)
def test_cells_say_what_they_hold(value: html.Cell, shown: str) -> None:
    assert f">{shown}</td>" in html.table([(value,)])


def test_columns_of_numbers_are_aligned_with_their_heads() -> None:
    shown = html.table([("a", 1, None), ("b", None, None)], ("name", "count", "nothing"))
    assert '<th>name</th><th class="n">count</th><th>nothing</th>' in shown
    assert shown.count('<td class="n">') == 2


@pytest.mark.parametrize(
    ("count", "shown"), [(999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (3e15, "3000.0 TB")]
)
def test_bytes_are_in_decimal_units(count: float, shown: str) -> None:
    assert html.byte_count(count) == shown


def test_a_page_is_written_whole_and_read_back(tmp_path: Path) -> None:
    html.write_page(tmp_path / "new" / "page.html", html.page("Größe", lead="×"))
    tree = Tree((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    assert tree.found("title") == ["Größe"]


def test_a_page_too_large_is_refused_with_a_remedy(tmp_path: Path) -> None:
    large = html.page("large", html.paragraph("x" * html.MOST_BYTES))
    with pytest.raises(UserError, match=r"20\.0 MB, more than the 20 MB .* fewer clips"):
        html.write_page(tmp_path / "page.html", large)
    assert not (tmp_path / "page.html").exists()
