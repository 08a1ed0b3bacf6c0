"""One self-contained HTML page per latency table: how well it predicts, and its stairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..plan import UserError
from ..plan.drift import drift_of
from ..plan.files import write_text
from ..plan.stored import read_stored
from ..plan.table_file import AGAIN, FORMAT, TOTALS, RecordedTable
from . import svg, wording
from .markup import alert, definitions, document, legend, note, panel, section, tile
from .stairs import PROPORTIONAL, table_panels

HEIGHT = 300
UNPRUNED = "unpruned"
"""The network that times of a table of widths are shares of."""


def write_table_report(path: str | Path, stairs: Mapping[str, Any], target: str | Path | None = None) -> Path:
    """Write a page on the latency table in the file `path` to `target`, beside it with the suffix .html unless given.

    The page has predicted against measured latency of the profiled networks, each predicted by a table that was fitted
    without it, and latency against width for the groups with the largest share: `stairs`, of
    `compress.costs.stairs.table_stairs`. The same table gives the same page.

    Returns the path of the page. Raises UserError when `path` is no latency table or has no record of its networks, and
    when `target` is `path`.

    Example::

        write_table_report("table.json", table_stairs(LatencyTable.load("table.json")))  # table.html
    """
    table = read_stored(path, RecordedTable, version=FORMAT, remedy=AGAIN)
    target = check_page(path, target)
    write_page(table, [predictions(table), _stairs(table, stairs), measuring(table)], target)
    return target


def check_page(path: str | Path, target: str | Path | None) -> Path:
    """The page of the table in the file `path`: `target`, or beside it; UserError where that is the table itself."""
    page = Path(path).with_suffix(".html") if target is None else Path(target)
    if page.resolve() == Path(path).resolve():
        raise UserError(f"{page}: is the table itself; give the page another name")
    return page


def write_page(table: dict[str, Any], sections: Sequence[str], target: Path, *, whole: str = UNPRUNED) -> None:
    """The page of `table`, whose times are shares of those of the `whole` network, to `target`."""
    title = f"Latency table of {table['key'].get('space')} on {table['key'].get('device')}"
    parts = [_header(table, whole), _tiles(table), *sections]
    write_text(target, document(title, parts, foot="Written by compress from the latency table alone."))


def _header(table: dict[str, Any], whole: str) -> str:
    key, residual = table["key"], table["residual"]
    lead = f"Half of the networks that it had not seen were predicted within {100 * residual['median']:.1f} %."
    facts = [
        f"{whole} network {wording.milliseconds(table['unpruned_ms'])}",
        wording.backend(str(key.get("backend"))),
        f"batch {key.get('batch')}",
        f"{key.get('threads')} thread{'' if key.get('threads') == 1 else 's'}",
        "input " + " \u00d7 ".join(str(side) for side in key.get("input_size", ())),
    ]
    return (
        f'<header><p class="overline">Latency table</p><h1>{escape(str(key.get("space")))} <span>on</span> '
        f'{escape(str(key.get("device")))}</h1><p class="lead">{lead}</p>'
        f'<p class="facts">{" &middot; ".join(escape(fact) for fact in facts)}</p>{_disturbed(table)}</header>'
    )


def _disturbed(table: dict[str, Any]) -> str:
    """A warning where the machine was not quiet."""
    text = drift_of(table)
    return alert(text) if text else ""


def _tiles(table: dict[str, Any]) -> str:
    residual = table["residual"]
    cells = [
        tile("Median error", f"{100 * residual['median']:.1f}", "%", "predicted / measured \u2212 1"),
        tile("90 % of networks within", f"{100 * residual['p90']:.1f}", "%", "of what was measured"),
        tile("Rank correlation", f"{residual['rank_correlation']:.3f}", "", "predicted and measured (Spearman)"),
        tile("Networks", str(residual["n"]), "", "that were profiled"),
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def predictions(table: dict[str, Any], *, whole: str = UNPRUNED) -> str:
    """Predicted against measured, and the relative error."""
    measured = [float(design["ratio"]) for design in table["designs"]]
    predicted = [float(design["held_out"]) for design in table["designs"]]
    errors = [100 * (p / m - 1) for p, m in zip(predicted, measured, strict=True)]
    text = "Each dot is a profiled network, predicted by a table that was fitted without its quarter "
    text += f"of the networks, and measured end to end, in turn with the {whole} network."
    x_name = f"measured latency / {whole} latency"
    charts = _scatter(predicted, measured, table, x_name)
    charts += _errors(errors, measured, 100 * table["residual"]["p90"], x_name)
    return section("Predicted against measured", f'{note(text)}<div class="panels">{charts}</div>')


def _scatter(predicted: list[float], measured: list[float], table: dict[str, Any], x_name: str) -> str:
    axis = svg.nice_axis(min(predicted + measured), max(predicted + measured))
    box: dict[str, Any] = {"x": axis, "y": axis, "height": HEIGHT}
    marks = svg.lines([svg.Curve([(axis.low, axis.low), (axis.high, axis.high)], "reference", "")], **box)
    for m, p in zip(measured, predicted, strict=True):
        tip = f"predicted {p:.3f} ({wording.milliseconds(p * table['unpruned_ms'])}), measured {m:.3f}"
        marks += svg.dot(m, p, **box, colour="c1", tip=tip)
    label = f"Predicted against measured latency of {len(measured)} networks"
    y_name = x_name.replace("measured", "predicted")
    chart = svg.framed(marks, **box, label=label, x_name=x_name, y_name=y_name)
    return panel("Latency", chart, keys=[("dashed", "predicted = measured")])


def _errors(errors: list[float], measured: list[float], p90: float, x_name: str) -> str:
    most = max(p90, *(abs(error) for error in errors))
    x, y = svg.nice_axis(min(measured), max(measured)), svg.nice_axis(-most, most)
    box: dict[str, Any] = {"x": x, "y": y, "height": HEIGHT}
    marks = "".join(svg.across(end, y=y, height=HEIGHT) for end in (-p90, p90))
    marks += svg.lines([svg.Curve([(x.low, 0.0), (x.high, 0.0)], "zero", "")], **box)
    for m, error in zip(measured, errors, strict=True):
        marks += svg.dot(
            m, error, **box, colour="c1", tip=f"measured {m:.3f}, error {error:+.1f} %".replace("-", wording.MINUS)
        )
    label = f"Relative error of the prediction of {len(errors)} networks, at most {most:.1f} %"
    chart = svg.framed(marks, **box, label=label, x_name=x_name, y_name="predicted / measured \u2212 1, %")
    return panel("Error", chart, keys=[("dashed", f"90 % of networks within \u00b1{p90:.1f} %")])


def _stairs(table: dict[str, Any], stairs: Mapping[str, Any]) -> str:
    text = "Time of the layers that make or read a group's channels, over its width, with all other groups at full "
    text += "width. Dots are the table's widths, fitted to the profiled networks; flat parts are widths that cost the "
    text += "same. A layer between two groups is in "
    text += f"the plots of both. {100 * stairs['fixed']:.1f}\u00a0% of the unpruned network's time depends on no width."
    if stairs["together"]:
        text += f" Shown are the {len(stairs['groups'])} groups with the most time; the last plot has the layers that "
        text += "touch none of them, all other groups at the same share of their channels, or the next of the table's."
    keys = legend([("c1", "latency by the table"), PROPORTIONAL])
    return section(
        "Stairs", f'{note(text)}{keys}<div class="panels small">{table_panels(stairs, table["unpruned_ms"])}</div>'
    )


def measuring(table: dict[str, Any], *, whole: str = UNPRUNED) -> str:
    """How and when it was measured."""
    key = table["key"]
    arch = key.get("arch") or {}
    low, high = min(table["reference_ms"]), max(table["reference_ms"])
    facts = {
        "device": key.get("device"),
        "backend": wording.backend(str(key.get("backend"))),
        "network": ", ".join([str(key.get("space")), *_arguments(arch)]),
        f"{whole} network": wording.milliseconds(table["unpruned_ms"]),
        "fixed matrix product": f"{wording.digits(low)} to {wording.milliseconds(high)} along the way",
        "made of": "whole calls alone" if table.get("way") == TOTALS else None,
        "profiler's share of its times": _overhead(table),
        "versions": ", ".join(f"{name} {version}" for name, version in table.get("measured_with", {}).items()),
        "measured": table["date"],
    }
    text = f"All times are shares of the {whole} network's, which was timed in turn with every other. The matrix "
    text += "product shows how steady the machine was."
    return section("How it was measured", definitions(facts) + note(text))


def _overhead(table: Mapping[str, Any]) -> str | None:
    """In percent; None where whole calls were timed without a profiler."""
    return wording.percent(100 * table["profiler_overhead"]) if "profiler_overhead" in table else None


def _arguments(arch: Mapping[str, Any]) -> list[str]:
    """The arguments of a space in words; of the widths of a pruned network, which may be many, their number."""
    told = [f"{name} {value}" for name, value in arch.items() if name != "widths" and value not in ({}, None)]
    number = len(arch.get("widths") or ())
    return [*told, f"pruned in {number} group{'' if number == 1 else 's'} of channels"] if number else told
