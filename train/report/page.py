"""The page itself: plain HTML and CSS, no script, readable offline and on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from shared.schema import StoreAttributes
from train.additions import additions


@dataclass(frozen=True)
class Card:
    """One generated clip beside the real one."""

    text: str
    real: str
    generated: str
    read_as: str | None
    """The classifier's verdict; None where there is no classifier."""
    right: bool


@dataclass(frozen=True)
class Page:
    """Everything the page says."""

    scores: dict[str, Any]
    store: StoreAttributes
    recipe: dict[str, Any]
    refined: bool
    cards: list[Card]
    seconds: dict[str, float]
    commands: list[tuple[str, float | None]]
    """Each with its seconds, where they are known."""
    parameters: int
    train_clips: int
    test_clips: int
    processor: str


_STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5d6a7c; --line: #dfe4ea; --good: #1d7a46;
  --bad: #b3372f; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; padding: 1rem;
  max-width: 72rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0; } .soft { color: var(--soft); }
img { max-width: 100%; display: block; } .wide { overflow-x: auto; }
.wide img { max-width: none; width: 100%; min-width: 40rem; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.card div { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
.card img { width: 100%; } .card p { margin: .3rem .6rem; font-size: .9rem; }
.right { color: var(--good); } .wrong { color: var(--bad); }
table { border-collapse: collapse; } td, th { border-bottom: 1px solid var(--line);
  padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
pre { background: #f4f6f8; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""


def render_page(page: Page) -> str:
    """The page as HTML; pictures are expected in the folder `pictures` beside it."""
    sections = [
        _head(page),
        _generated(page),
        _numbers(page),
        _codec(page),
        _data(page),
        _training(page),
        _commands(page),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>dvdm: generated motion</title><style>{_STYLE}</style></head><body>"
        + "\n".join(sections)
        + "</body></html>\n"
    )


def _head(page: Page) -> str:
    return (
        "<h1>From a picture and a text to a video, by generating motion</h1>"
        f"<p>Data set <b>{escape(page.store.dataset)}</b>, recipe"
        f" <b>{escape(page.recipe['name'])}</b>: the model was given the first frame of a clip from"
        " the test split, and a label's text. It generated one motion vector and one residual"
        " latent for every block of every later frame; the rest is motion compensation.</p>"
    )


def _generated(page: Page) -> str:
    sheet = (
        '<p class="soft">As rows, real above generated:</p>'
        '<div class="wide"><img src="pictures/generated.png" alt="real above generated"></div>'
    )
    refining = (
        "<h2>What the refining network does</h2><p>Decoded clips above, refined below. The network"
        " behind the decoder is an addition of this project; the paper has none.</p>"
        '<div class="wide"><img src="pictures/refining.png" alt="before and after refining"></div>'
        if page.refined
        else ""
    )
    cards = "".join(_card(card) for card in page.cards)
    return (
        "<h2>Generated (right) beside real (left)</h2>"
        f'<p class="soft">{_verdict(page)}</p><div class="cards">{cards}</div>{sheet}{refining}'
    )


def _card(card: Card) -> str:
    verdict = ""
    if card.read_as is not None:
        kind, words = ("right", "✓") if card.right else ("wrong", f"read as {escape(card.read_as)}")
        verdict = f' <span class="{kind}">{words}</span>'
    return (
        f'<figure class="card" style="margin:0"><div><img src="pictures/{card.real}" alt="real">'
        f'<img src="pictures/{card.generated}" alt="generated"></div>'
        f"<p><b>{escape(card.text)}</b>{verdict}</p></figure>"
    )


def _verdict(page: Page) -> str:
    scores = page.scores
    if scores["read_as_asked"] is None:
        return "The store has no labels to compare with."
    return (
        f"A small classifier, trained on the real training clips, reads {scores['read_as_asked']}"
        f" of {scores['clips']} generated clips as the text asked for; on real test clips it is"
        f" right in {100 * scores['classifier_accuracy_real']:.0f}%."
    )


def _numbers(page: Page) -> str:
    scores = page.scores
    rows = [
        ("generated clip against the real one", scores["psnr_generated"], "dB"),
        ("the same before refining", scores["psnr_unrefined"], "dB"),
        ("first frame repeated against the real one", scores["psnr_first_frame"], "dB"),
        ("change between frames, generated over real", scores["motion_ratio"], "×"),
        (
            "real test clips restored from exact targets",
            scores["psnr_reconstruction"],
            "dB",
        ),
        ("… by exact vectors alone", scores["psnr_vectors_alone"], "dB"),
        ("… by the first frame repeated", scores["psnr_reconstruction_first_frame"], "dB"),
    ]
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{value:.2f} {unit}</td></tr>" for name, value, unit in rows
    )
    return (
        "<h2>Numbers</h2>"
        f"<table>{body}</table>"
        '<p class="soft">PSNR over frames 1 and later, mean over frames and clips of the test'
        f" split; {scores['clips']} generated clips, one seed ({scores['seed']}). A generated clip"
        " need not equal the real one, so its PSNR is no more than a hint. Measured on"
        f" {escape(page.processor)}.</p>"
    )


def _codec(page: Page) -> str:
    options = page.store.options
    where = {
        "previous": "in the previous frame",
        "first": "in the first frame",
        "either": "in the previous or the first frame, whichever the block has chosen",
    }[options.reference]
    return (
        "<h2>Motion vectors, residual, reconstruction</h2>"
        f"<p>Blocks of {options.block} pixels; each arrow ends at a block, and begins where the"
        f" block's pixels come from {where}. Below, the residual around grey."
        " First frame, vectors and residual together give back the clip bit for bit.</p>"
        '<div class="wide"><img src="pictures/vectors.png" alt="motion vectors"></div>'
        '<div class="wide"><img src="pictures/residual.png" alt="residuals"></div>'
        "<p>The same frames, real above; below restored from what the model is to generate"
        f"{_code(page)}: {page.scores['psnr_reconstruction']:.1f} dB on test clips.</p>"
        '<div class="wide"><img src="pictures/reconstruction.png" alt="reconstruction"></div>'
    )


def _code(page: Page) -> str:
    """What a clip is restored from, in words."""
    numbers = (page.recipe["autoencoder"] or {}).get("latent_channels")
    return {
        "codec": f" (exact vectors, and {numbers} numbers a block from the autoencoder)",
        "latent": f" ({numbers} numbers a cell from the autoencoder)",
    }.get(page.recipe["space"]["kind"], "")


def _data(page: Page) -> str:
    return (
        "<h2>The data</h2>"
        f"<p>{page.train_clips} training clips, {page.test_clips} test clips;"
        f" {len(page.store.labels)} labels, {len(page.store.subjects)} subjects. Shown are"
        " training clips.</p>"
        '<div class="wide"><img src="pictures/data.png" alt="training clips"></div>'
    )


def _training(page: Page) -> str:
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in page.seconds.items())
    return (
        f"<h2>Training</h2><p>The denoiser has {page.parameters / 1e6:.1f} million parameters."
        f" Training took: {spent}.{_additions(page)}</p>"
        '<img src="pictures/curves.png" alt="loss curves">'
    )


def _additions(page: Page) -> str:
    own = additions(page.recipe, page.store.options)
    return f" Not as in the paper: {'; '.join(own)}." if own else ""


def _commands(page: Page) -> str:
    lines = "\n".join(
        escape(command) + (f"  # {seconds:.0f} s" if seconds is not None else "")
        for command, seconds in page.commands
    )
    return f"<h2>Commands that made this</h2><pre>{lines}</pre>"
