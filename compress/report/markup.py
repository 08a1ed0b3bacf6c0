"""Pieces of HTML that the parts of the page are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .run_contents import RunContents, missing
from .style import CSS


def document(title: str, parts: Sequence[str], *, foot: str) -> str:
    """The whole page: no script, no external resource. `title` and `foot` are plain text."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n"
        f"<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def section(title: str, content: str) -> str:
    """A part of the page under its heading; the id is the title in lower case with dashes."""
    name = title.lower().replace(" ", "-")
    return f'<section id="{name}"><h2>{escape(title)}</h2>{content}</section>'


def table(kind: str, head: str, body: str, *, columns: int, foot: str = "", digits: int = 0) -> str:
    """A table that narrow screens stack, each row's name above its cells; what is still too wide scrolls in its box.

    Args:
        kind: its CSS classes.
        head: rows of titles, HTML.
        body: rows that begin with a <th scope="row">.
        columns: of cells behind that name; 0: it is narrow enough as it is.
        foot: further rows, below a line.
        digits: of the longest number, where cells hold numbers that must not be broken.
    """
    stacked = f'{kind} stacked" style="--columns:{columns}' if columns else kind
    digits_of = f";--digits:{digits}" if digits else ""
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<div class="wide"><table class="{stacked}{digits_of}"><thead>{head}</thead><tbody>{body}</tbody>{foot}'
        "</table></div>"
    )


def tile(what: str, number: str, unit: str, detail: str) -> str:
    """A number that most readers came for; `detail`, HTML, stands below it."""
    return (
        f'<div class="tile"><div class="what">{escape(what)}</div>'
        f'<div class="big">{escape(number)}<small>{escape(unit)}</small></div><div class="from">{detail}</div></div>'
    )


def alert(text: str) -> str:
    """What to be wary of; a command stands between backticks, as the terminal prints it."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return f'<p class="warning" role="note"><b>Warning</b> {marked}</p>'


def definitions(values: Mapping[str, Any]) -> str:
    """A list of names and values; those that are None or empty are left out."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in values.items()
        if value not in (None, "")
    )
    return f"<dl>{items}</dl>"


def note(text: str) -> str:
    """A paragraph of fine print."""
    return f'<p class="note">{escape(text)}</p>'


def absent(name: str, run: RunContents | None = None) -> str:
    """What stands in place of a part whose file is not there."""
    return f'<p class="absent">{escape(missing(name, run))}</p>'


def panel(title: str, chart: str, *, keys: Sequence[tuple[str, str]] = ()) -> str:
    """A titled chart with its legend: (CSS class of the swatch, text)."""
    above = legend(keys) if keys else ""
    return f'<figure class="panel"><figcaption>{escape(title)}</figcaption>{above}{chart}</figure>'


def legend(keys: Sequence[tuple[str, str]]) -> str:
    """What the colours of a chart mean: (CSS class of the swatch, text)."""
    items = "".join(f'<span><i class="swatch {swatch}"></i>{escape(text)}</span>' for swatch, text in keys)
    return f'<div class="legend">{items}</div>'
