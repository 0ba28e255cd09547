from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from shared.errors import UserError
from shared.report import pages
from shared.report.pages import Cell, Html

VOID = {"meta", "link", "img", "br"}
NASTY = """<script>alert("x & y's")</script>"""


class Tree(HTMLParser):
    """Text and attributes of a page by element; elements must close in order."""

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


TEMPLATE = """
{% extends "shared/report/page.html" %}
{% from "shared/report/macros.html" import cards, charts, commands, details, facts, figure, image %}
{% block title %}{{ words }}{% endblock %}
{% block lead %}{{ words }}{% endblock %}
{% block content %}
<section id="all"><h2>{{ words }}</h2>
{{ figure(picture, words, words, wide=true, pixels=true) }}
{% call cards() %}<div class="card">{{ image(picture, words) }}<p>{{ words }}</p></div>{% endcall %}
{{ table([(words, 1)], [words, words], caption=words) }}
{{ facts([(words, words)]) }}
{{ charts([chart]) }}
{% call details(words) %}<b>{{ words }}</b>{% endcall %}
</section>
{{ commands([(words, 1.0)], words) }}
{% endblock %}
"""
"""A page with every element, all of the same words."""


def everything(words: str) -> str:
    template = pages._environment().from_string(TEMPLATE)
    return template.render(words=words, picture=picture("PNG"), chart=Html("<svg></svg>"))


def test_markup_in_a_text_is_shown_and_not_run() -> None:
    tree = Tree(everything(NASTY))
    plain = Tree(everything("plain"))
    assert [tag for tag, _ in tree.attributes] == [tag for tag, _ in plain.attributes]
    for tag in ("title", "h1", "h2", "p", "b", "figcaption", "caption", "th", "td", "dt", "dd",
                "summary", "pre"):  # fmt: skip
        assert NASTY in "".join(tree.found(tag)), tag
    alt = [given["alt"] for tag, given in tree.attributes if tag == "img"]
    assert alt == [NASTY] * 2


def test_a_page_needs_no_other_file_and_no_script() -> None:
    page = everything("plain")
    tree = Tree(page)
    addresses = [
        value
        for _, given in tree.attributes
        for name, value in given.items()
        if name in {"src", "href"}
    ]
    assert len(addresses) == 3 and all(value and value.startswith("data:") for value in addresses)
    assert not {tag for tag, _ in tree.attributes} & {"script", "iframe", "object"}
    assert "url(" not in page and "@import" not in page and "svg" in page


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="protocol"):
        pages.render("train/evaluate/evaluation.html")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "WEBP"])
def test_pictures_are_in_the_page_as_they_were_given(kind: str) -> None:
    data = picture(kind)
    uri = pages.data_uri(data)
    found = re.fullmatch(rf"data:image/{kind.lower()};base64,(.*)", uri)
    assert found and b64decode(found[1]) == data


def test_other_files_than_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        pages.data_uri(b"<svg/>")


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
def test_cells_are_formatted_by_their_type(value: Cell, shown: str) -> None:
    assert f">{shown}</td>" in pages.table([(value,)])
    last = pages.table([(value,)], kind="markdown").splitlines()[-1]
    assert last.strip("| ") == unescape(shown)


def test_columns_of_numbers_are_aligned_with_their_heads() -> None:
    rows, headings = [("a", 1, None), ("b", None, None)], ("name", "count", "nothing")
    shown = pages.table(rows, headings)
    assert '<th>name</th><th class="n">count</th><th>nothing</th>' in shown
    assert shown.count('<td class="n">') == 2
    assert pages.table(rows, headings, align="rll").count('<td class="n">') == 2
    assert pages.table(rows, headings, kind="markdown").splitlines() == [
        "| name | count | nothing |",
        "| ---- | ----: | ------- |",
        "| a    |     1 | –       |",
        "| b    |     – | –       |",
    ]


def test_a_markdown_table_keeps_its_columns_whatever_its_cells_hold() -> None:
    rows = [("a|b", "two\nlines"), ("x" * 60, "y")]
    lines = pages.table(rows, ("h", "i"), kind="markdown", align="lr").splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3] * 4
    assert "two lines" in lines[2] and max(map(len, lines[:3])) < 60
    assert pages.table([("a", 1)], kind="markdown").splitlines()[0] == "|     |     |"
    assert pages.table([], ("a", "b"), kind="markdown").count("\n") == 1


@pytest.mark.parametrize(
    ("count", "shown"), [(999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (3e15, "3000.0 TB")]
)
def test_bytes_are_in_decimal_units(count: float, shown: str) -> None:
    assert pages.byte_count(count) == shown


def test_a_page_is_written_whole_and_read_back(tmp_path: Path) -> None:
    pages.write_page(tmp_path / "new" / "page.html", everything("Größe ×"))
    tree = Tree((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    assert tree.found("title") == ["Größe ×"]


def test_a_page_too_large_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"20\.0 MB, more than the 20 MB .* fewer clips"):
        pages.write_page(tmp_path / "page.html", "x" * (pages.MAX_BYTES + 1))
    assert not (tmp_path / "page.html").exists()
