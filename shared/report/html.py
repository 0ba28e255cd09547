"""What every report page is made of: one file, one style, no script, nothing from elsewhere.

All functions take plain text and escape it; what they return is `Html`, which passes unchanged
into the others. A page reads on a phone, in light and dark, and offline.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest

from shared.errors import UserError
from shared.store.paths import Location, write_whole

# MERGED: The one style of all report pages: see `shared.report.html`.


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5a6779; --line: #dfe4ea;
  --raised: #f5f7f9; --accent: #1f5fb8; --good: #1d7a46; --bad: #b3372f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181e; --ink: #e3e8ee; --soft: #9aa7b8;
  --line: #2e3742; --raised: #1d232b; --accent: #7fb0f5; --good: #63c98f; --bad: #f08a80; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 .5rem; padding-top: .7rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.3rem 0 .3rem; }
p { max-width: 46rem; margin: .5rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.05rem; }
.soft, figcaption, caption { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
figure { margin: .8rem 0; }
figcaption { font-size: .9rem; margin-top: .3rem; max-width: 46rem; overflow-wrap: anywhere; }
img, svg { display: block; max-width: 100%; height: auto; }
figure > img, .wide > img { width: 100%; }
img.pixels { image-rendering: pixelated; }
.wide { overflow-x: auto; }
.wide > img { max-width: none; min-width: 40rem; }
.cards { display: grid; gap: .9rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; min-width: 0; }
.card > img, .card > svg, .pair > img { width: 100%; }
.card > p, .card > h3, .card > figure { margin: .45rem .7rem; }
.card > p { font-size: .9rem; }
.card > svg { padding: .2rem .3rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .95rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1.1rem .3rem 0; text-align: left;
  vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.short { white-space: nowrap; } td.long { min-width: 14rem; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts { display: grid; grid-template-columns: fit-content(13rem) 1fr; gap: .25rem 1.2rem;
  margin: .6rem 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; }
code { background: var(--raised); border-radius: .25rem; padding: .1rem .3rem; }
pre { background: var(--raised); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
"""

MOST_BYTES = 20_000_000
"""A page is no larger: it is to be sent by mail and opened on a phone."""


class Html(str):
    """Markup that is ready to be shown; any other string is text, and escaped."""

    __slots__ = ()


Cell = Html | str | int | float | None
"""What stands in a table; None is shown as a dash."""

_SHORT, _LONG = 16, 48
"""Characters of cells that are never broken, and of those that are given room."""

_MAGIC = {
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}


def text(content: str) -> Html:
    """Escape, unless it is markup already."""
    return content if isinstance(content, Html) else Html(escape(content))


def join(*parts: str) -> Html:
    """Parts one after the other."""
    return Html("".join(text(part) for part in parts))


def page(title: str, *sections: str, lead: str = "") -> str:
    """The whole file.

    Args:
        title: heading of the page and of its tab.
        sections: from `section`, in order.
        lead: what the page is about, one paragraph under the title.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{text(title)}</h1>"
        + (f'<p class="lead">{text(lead)}</p>' if lead else "")
        + "\n".join(text(part) for part in sections)
        + "</main></body></html>\n"
    )


def write_page(path: Location, content: str) -> None:
    """Write a page in UTF-8; missing folders are made.

    Raises:
        UserError: it is larger than `MOST_BYTES`, or cannot be written there.
    """
    data = content.encode()
    if len(data) > MOST_BYTES:
        raise UserError(
            f"the page {path} would have {len(data) / 1e6:.1f} MB, more than the"
            f" {MOST_BYTES / 1e6:.0f} MB that a page may have: show fewer clips on it"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"cannot write the page {path}: {error.strerror or error}") from None


def section(heading: str, *content: str) -> Html:
    """A part of the page under its own heading."""
    return Html(f"<section><h2>{text(heading)}</h2>{join(*content)}</section>")


def heading(content: str) -> Html:
    """A heading within a section."""
    return Html(f"<h3>{text(content)}</h3>")


def paragraph(content: str, *, soft: bool = False) -> Html:
    """A paragraph; `soft` ones are remarks."""
    return Html(f"<p{' class=soft' if soft else ''}>{text(content)}</p>")


def bold(content: str) -> Html:
    """What the eye should find first."""
    return Html(f"<b>{text(content)}</b>")


def code(content: str) -> Html:
    """A name, an option or a short command within a sentence."""
    return Html(f"<code>{text(content)}</code>")


def verdict(content: str, *, good: bool) -> Html:
    """A few words in the colour of what is right or wrong."""
    return Html(f'<span class="{"good" if good else "bad"}">{text(content)}</span>')


def data_uri(data: bytes) -> str:
    """Bytes of a PNG (animated or not), GIF, JPEG or WebP as an address that needs no file.

    Raises:
        ValueError: it is none of these.
    """
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise ValueError(f"not a PNG, GIF, JPEG or WebP image: begins with {data[:8]!r}")
    return f"data:{kind};base64,{b64encode(data).decode()}"


def image(data: bytes, alt: str, *, enlarge: bool = False) -> Html:
    """A picture as wide as its place.

    Args:
        data: the file's bytes, see `data_uri`.
        alt: what it shows, in words.
        enlarge: pixels stay squares however large it is shown: small frames need not be stored
            enlarged.
    """
    kind = ' class="pixels"' if enlarge else ""
    return Html(f'<img{kind} src="{data_uri(data)}" alt="{escape(alt)}">')


def figure(content: str, caption: str = "", *, wide: bool = False) -> Html:
    """A picture or chart and what it shows; `wide` ones scroll sideways on a narrow screen."""
    shown = f'<div class="wide" tabindex="0">{text(content)}</div>' if wide else text(content)
    told = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{shown}{told}</figure>")


def pair(left: str, right: str) -> Html:
    """Two pictures side by side, equally wide."""
    return Html(f'<div class="pair">{text(left)}{text(right)}</div>')


def cards(contents: Iterable[str], *, least_rem: float = 15) -> Html:
    """Boxes in as many columns as fit, none narrower than `least_rem` where there is room."""
    boxes = "".join(f'<div class="card">{text(content)}</div>' for content in contents)
    return Html(f'<div class="cards" style="--least:{least_rem:g}rem">{boxes}</div>')


def table(rows: Iterable[Sequence[Cell]], head: Sequence[str] = (), *, caption: str = "") -> Html:
    """A table that scrolls sideways where it is too wide; numbers are aligned to the right.

    Args:
        rows: cells; floats are shown with four significant digits, integers with thousands apart.
        head: names of the columns; none leaves the header out.
        caption: what it shows, above it.
    """
    body = [list(row) for row in rows]
    columns = [_number_class(column) for column in zip_longest(*body)]
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    top = "".join(map(_head, head, [*columns, *[""] * len(head)]))
    lines = "".join(f"<tr>{''.join(map(_cell, row, columns))}</tr>" for row in body)
    return Html(
        f'<div class="wide" tabindex="0"><table>{told}'
        + (f"<thead><tr>{top}</tr></thead>" if head else "")
        + f"<tbody>{lines}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, Cell]]) -> Html:
    """Names and what they are, one a line, folding at any width."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{_shown(value)}</dd>" for name, value in pairs)
    return Html(f'<dl class="facts">{rows}</dl>')


def fold(summary: str, *content: str) -> Html:
    """What only some will want to read: closed until it is clicked."""
    return Html(f"<details><summary>{text(summary)}</summary>{join(*content)}</details>")


def commands(lines: Iterable[tuple[str, float | None]], note: str = "") -> Html:
    """The section with the commands that made what is shown, to be copied.

    Args:
        lines: command and the seconds it took, None where they are not known.
        note: a remark above them.
    """
    listed = "\n".join(
        escape(line) + ("" if seconds is None else f"  # {seconds:,.0f} s")
        for line, seconds in lines
    )
    told = paragraph(note, soft=True) if note else Html("")
    return section("Commands that made this", told, Html(f'<pre tabindex="0">{listed}</pre>'))


def number(value: float) -> str:
    """Four significant digits, or all of an integer's with thousands apart, or with a tenth."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}"
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.1f}"
    return f"{value:#.4g}" if 1e-4 <= abs(value) < 1000 else f"{value:.3e}"


def byte_count(count: float) -> str:
    """A number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _head(name: str, kind: str) -> str:
    return f"<th{kind}>{text(name)}</th>"


def _cell(value: Cell, kind: str) -> str:
    shown = _shown(value)
    return f"<td{kind or _width_class(shown)}>{shown}</td>"


def _width_class(shown: str) -> str:
    """Where columns are squeezed, short cells are not broken and long ones stay readable."""
    if len(shown) <= _SHORT:
        return ' class="short"'
    return ' class="long"' if len(shown) > _LONG else ""


def _shown(value: Cell) -> Html:
    if value is None:
        return Html("–")
    if isinstance(value, bool):
        return Html("yes" if value else "no")
    return text(value if isinstance(value, str) else number(value))


def _number_class(values: Iterable[Cell]) -> str:
    """Columns of numbers, or of numbers and dashes, are aligned to the right."""
    found = list(values)
    given = [value for value in found if value is not None]
    return ' class="n"' if given and not any(isinstance(v, str | bool) for v in given) else ""
