"""Pieces of HTML that the parts of the page are made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .run_folder import missing


def section(title: str, content: str) -> str:
    """A part of the page under its heading; the id is the title in lower case with dashes."""
    name = title.lower().replace(" ", "-")
    return f'<section id="{name}"><h2>{escape(title)}</h2>{content}</section>'


def note(text: str) -> str:
    """A paragraph of fine print."""
    return f'<p class="note">{escape(text)}</p>'


def absent(name: str) -> str:
    """What stands in place of a part whose file is not there."""
    return f'<p class="absent">{escape(missing(name))}</p>'


def panel(title: str, chart: str, *, keys: Sequence[tuple[str, str]] = ()) -> str:
    """A titled chart with its legend: (CSS class of the swatch, text)."""
    items = "".join(f'<span><i class="swatch {swatch}"></i>{escape(text)}</span>' for swatch, text in keys)
    legend = f'<div class="legend">{items}</div>' if items else ""
    return f'<figure class="panel"><figcaption>{escape(title)}</figcaption>{legend}{chart}</figure>'
