"""Report pages from jinja2 templates, and tables as HTML or Markdown.

A page is one file that needs nothing else: style and pictures are inside it, there is no script,
and it reads offline, on a phone, in light and dark. Values in a template are escaped unless they
are `Html`. Templates lie next to the code that fills them and are named from the folder that holds
the packages, such as `shared/report/page.html`, which all pages extend.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.console import byte_count
from shared.errors import UserError
from shared.store.paths import Location, write_whole

Html = Markup
"""Markup that a template shows as it is; any other string is text, and escaped."""

Cell = str | int | float | None
"""Content of a table's cell."""

MAX_BYTES = 20_000_000
"""Size limit of a page, which is to be sent by mail and opened on a phone."""

_PACKAGES = Path(__file__).parents[2]
_SHORT, _LONG = 16, 48
"""Characters of cells that are never broken, and of those that are given room."""
_MAX_PADDING = 40
"""Characters to which cells of a Markdown table are padded."""
_MAGIC = {
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: its path from the folder that holds the packages.
        values: by the names that the template uses.

    Raises:
        jinja2.UndefinedError: a value that the template uses is missing.
    """
    return _environment().get_template(template).render(values)


def prepare_page(path: Location) -> None:
    """Make the folders above a page: before the work whose results it shows.

    Raises:
        UserError: they cannot be made.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def write_page(path: Location, content: str) -> None:
    """Write a page in UTF-8, and the folders above it.

    Raises:
        UserError: it is larger than `MAX_BYTES`, or cannot be written there.
    """
    data = content.encode()
    if len(data) > MAX_BYTES:
        raise UserError(
            f"the page {path} would have {len(data) / 1e6:.1f} MB, more than the"
            f" {MAX_BYTES / 1e6:.0f} MB that a page may have: show fewer clips on it"
        )
    prepare_page(path)
    with _writing(path):
        write_whole(path, data)


@contextmanager
def _writing(path: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write the page {path}: {error.strerror or error}") from None


def table(
    rows: Iterable[Sequence[Cell]],
    headings: Sequence[str] = (),
    *,
    kind: Literal["html", "markdown"] = "html",
    caption: str = "",
    align: str = "",
) -> str:
    """A table as HTML, scrolling sideways where it is too wide, or as Markdown.

    Args:
        rows: cells; numbers are shown as by `number`, None as a dash.
        headings: names of the columns; without any, HTML has no header and Markdown an empty one.
        kind: of the text that is returned: `Html`, or Markdown without a final line break.
        caption: above the table; HTML only.
        align: "l" or "r" for each column; columns of numbers are aligned right by default.
    """
    body = [list(row) for row in rows]
    columns = list(zip_longest(*body)) or [()] * len(headings)
    right = [letter == "r" for letter in align] or [_is_numeric(column) for column in columns]
    if kind == "markdown":
        return _markdown([[_plain(cell) for cell in row] for row in body], headings, right)
    macros: Any = _environment().get_template("shared/report/macros.html").module
    return Html(macros.table(body, headings, right, caption))


def number(value: float) -> str:
    """Four significant digits; whole numbers and large ones in full, with thousands separated."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}"
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.1f}"
    return f"{value:#.4g}" if 1e-4 <= abs(value) < 1000 else f"{value:.3e}"


def data_uri(data: bytes) -> Html:
    """The address of a PNG (animated or not), GIF, JPEG or WebP that holds the picture itself.

    Raises:
        ValueError: the bytes are of another format.
    """
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise ValueError(f"not a PNG, GIF, JPEG or WebP image: begins with {data[:8]!r}")
    return Html(f"data:{kind};base64,{b64encode(data).decode()}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PACKAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters.update(
        byte_count=byte_count, data_uri=data_uri, number=number, cell=_plain, width=_width_class
    )
    environment.globals["table"] = table
    return environment


def _is_numeric(column: Iterable[Cell]) -> bool:
    """Test whether a column holds numbers, or numbers and dashes."""
    given = [value for value in column if value is not None]
    return bool(given) and not any(isinstance(value, str | bool) for value in given)


def _plain(value: Cell) -> str:
    """A cell as text; Html stays Html."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def _width_class(shown: str) -> str:
    """The style that keeps short cells unbroken and long ones readable in narrow columns."""
    if len(shown) <= _SHORT:
        return "short"
    return "long" if len(shown) > _LONG else ""


def _markdown(rows: list[list[str]], headings: Sequence[str], right: Sequence[bool]) -> str:
    header = list(headings) or [""] * len(right)
    lines = [
        [cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in (header, *rows)
    ]
    widths = [min(_MAX_PADDING, max(3, *map(len, column))) for column in zip(*lines, strict=True)]
    rule = ["-" * (width - 1) + ":-"[not r] for width, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if r else cell.ljust(width)
            for cell, width, r in zip(line, widths, right, strict=True)
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )
