"""The part of the page on where the time goes: every layer before and after, by the profilers of the engines."""

from __future__ import annotations

from html import escape
from typing import Any

from . import wording
from .markup import legend, note, table
from .run_contents import RunContents

SHOWN = 12
"""Layers with the most time, which are drawn; the others are in the table of all."""

JOINT = " + "
"""Between the names of operators that an engine runs as one layer."""

REST = "rest"


def where_time_went(run: RunContents) -> str:
    """A heading, bars and a folded table for each backend that tells layers; nothing where none does."""
    backends = (run.latency or {"backends": {}})["backends"]
    parts = [_backend(name, entry) for name, entry in backends.items() if entry.get("layers")]
    if not parts:
        return ""
    text = "By each engine's own profiler, both networks in turn: shares of the time that all layers of the unpruned "
    text += "network take, and milliseconds of its median. What an engine runs as one layer is one row."
    keys = legend([("pruned", "before"), ("kept", "after")])
    return f'<h3 id="where-the-time-went">Where the time went</h3>{note(text)}{keys}{"".join(parts)}'


def _backend(name: str, entry: dict[str, Any]) -> str:
    layers, whole = entry["layers"], float(entry["before"]["median"])
    most = sorted(layers, key=lambda row: -max(row["before"], row["after"]))[:SHOWN]
    longest = max(max(row["before"], row["after"]) for row in most) or 1.0
    bars = "".join(_bar(row, whole, longest) for row in most)
    return (
        f'<div class="backend">{escape(wording.backend(name))}</div>{note(_overview(layers, len(most)))}'
        f'<ul class="pairs">{bars}</ul><details><summary>All {len(layers)} layers in {escape(wording.backend(name))}'
        f"</summary>{_table(layers, whole)}</details>"
    )


def _overview(layers: list[dict[str, Any]], shown: int) -> str:
    """What the drawn layers are, what all layers together take, and where nothing was saved."""
    after = sum(row["after"] for row in layers)
    text = f"All layers together take {after:.3f} of the time that they took"
    if slower := [row for row in layers if row["after"] > row["before"]]:
        lost = sum(row["after"] - row["before"] for row in slower)
        text += f"; {len(slower)} of {len(layers)} take more than before, {wording.percent(100 * lost)} together"
    return text + (f". The {shown} with the most time:" if shown < len(layers) else ".")


def _bar(row: dict[str, Any], whole: float, longest: float) -> str:
    bars = "".join(
        f'<i class="{colour}" style="width:{100 * row[side] / longest:.2f}%"></i>'
        for side, colour in (("before", "pruned"), ("after", "kept"))
    )
    before, after = (wording.digits(whole * row[side]) for side in ("before", "after"))
    return (
        f'<li data-layer="{escape(row["name"])}"><span class="name">{_name(row["name"])}</span>'
        f'<span class="two">{bars}</span><span class="of">{before} &rarr; <b>{after}</b> ms</span></li>'
    )


def _table(layers: list[dict[str, Any]], whole: float) -> str:
    titles = ("before, ms", "after, ms", "before, %", "after, %")
    head = "<tr><td></td>" + "".join(f'<th scope="col">{title}</th>' for title in titles) + "</tr>"
    body = "".join(
        f'<tr><th scope="row">{_name(row["name"])}</th>'
        + "".join(f"<td>{wording.digits(whole * row[side])}</td>" for side in ("before", "after"))
        + "".join(f"<td>{100 * row[side]:.2f}</td>" for side in ("before", "after"))
        + "</tr>"
        for row in layers
    )
    return table("layers", head, body, columns=4)


def _name(name: str) -> str:
    """An operator's name that may break behind its dots; what belongs to none in words."""
    if name == REST:
        return "<i>between the layers</i>"
    return escape(name).replace(".", ".<wbr>").replace(escape(JOINT), " +<wbr> ")
