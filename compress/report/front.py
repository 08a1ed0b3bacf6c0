"""One self-contained HTML page per front: accuracy against what the networks cost, and how each was made."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..plan.files import write_text
from ..plan.front_file import FORMAT, FRONT, RIVALS, FrontFile, RivalsFile
from ..plan.paths import inside
from ..plan.stored import read_stored
from . import front_words as words
from . import rows, wording
from .front_plots import plots
from .markup import alert, definitions, document, note, section, table, tile

PAGE = "front.html"


def write_front_report(run_dir: str | Path) -> Path:
    """Write `front.html` from the front.json of a front's folder, and from rivals.json where there is one.

    The same files give the same page. Returns the page's path. Raises UserError for a missing or damaged file.

    Example::

        page = write_front_report("runs/front")
    """
    for name in (FRONT, RIVALS):
        inside(run_dir, name, source=Path(run_dir) / name)
    front = read_stored(Path(run_dir) / FRONT, FrontFile, version=FORMAT, remedy="run `nncompress front` again")
    beside = Path(run_dir) / RIVALS
    rivals = read_stored(beside, RivalsFile, version=FORMAT)["points"] if beside.exists() else []
    write_text(Path(run_dir) / PAGE, _page(front, rivals))
    return Path(run_dir) / PAGE


def _page(front: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> str:
    title = f"{front['model']} on {front['dataset']}: front"
    parts = [
        _header(front),
        _tiles(front),
        section("Accuracy against cost", plots(front, rivals)),
        _networks(front, rivals),
        _commands(front),
        _provenance(front),
    ]
    return document(title, parts, foot="Written by compress from the files of this front's folder alone.")


def _header(front: dict[str, Any]) -> str:
    count = len(front["points"])
    facts = [
        f"{count} point{'' if count == 1 else 's'} of one search",
        f"unpruned {rows.SHORT[front['metric']]} {wording.percent(words.accuracy(front, front['unpruned']))}",
        rows.judged_by(front),
    ]
    flattered = words.flattered(front)
    wary = alert(flattered) if flattered else ""
    return (
        f'<header><p class="overline">{escape(front["recipe"])} &middot; front</p><h1>{escape(front["model"])} '
        f"<span>on</span> {escape(front['dataset'])}</h1>"
        f'<p class="lead">{escape(words.verdict(front))}</p>'
        f'<p class="facts">{" &middot; ".join(escape(fact) for fact in facts)}</p>{wary}</header>'
    )


def _tiles(front: dict[str, Any]) -> str:
    """The picked point's numbers; nothing where none was picked."""
    point, whole = words.picked(front), front["unpruned"]
    if point is None:
        return ""
    cells = []
    if (backend := front["backend"]) is not None:
        ms = [wording.digits(row["latency_ms"][backend]) for row in (whole, point)]
        cells.append(_tile(wording.backend(backend), point["latency_ratio"][backend], "faster", "slower", ms))
    for key, label in (("macs", "MACs"), ("params", "Parameters")):
        counts = [wording.short_count(row[key]) for row in (whole, point)]
        cells.append(_tile(label, point[key] / max(whole[key], 1), "fewer", "more", counts))
    levels = [wording.percent(words.accuracy(front, row)).removesuffix(" %") for row in (whole, point)]
    number, _, unit = words.drop(front, point).partition(" ")
    cells.append(tile(rows.ACCURACIES[front["metric"]], number, unit, _between(levels)))
    return f'<div class="tiles">{"".join(cells)}</div>'


def _tile(what: str, ratio: float, less: str, more: str, amounts: Sequence[str]) -> str:
    number, _, unit = wording.times(ratio, less=less, more=more).replace(" times", "\u00d7").partition(" ")
    return tile(what, number, unit, _between(amounts))


def _between(amounts: Sequence[str]) -> str:
    before, after = (escape(amount) for amount in amounts)
    return f"{before} &rarr; <b>{after}</b>"


def _networks(front: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> str:
    """The table of all networks; each point leads to its run's report."""
    timed = [f"{wording.backend(name)}, ms" for name in _backends(front)]
    titles = [rows.SHORT[front["metric"]], *timed, "MACs", "parameters"]
    head = "<td></td>" + "".join(f'<th scope="col">{escape(title)}</th>' for title in titles) + "<td></td>"
    body = [_row(front, front["unpruned"], "unpruned", "")]
    best = words.picked(front)
    for point in front["points"]:
        mark = "picked" if point is best else words.standing(front, point)
        link = f'<a href="{escape(point["name"])}/report.html">{escape(words.asked(point))}</a>'
        kind = "picked" if point is best else "beaten" if mark != "on the front" else ""
        body.append(_row(front, point, link, mark, kind=kind))
    for row in rivals:
        told = f"{escape(row['rival'])}<small>{escape(words.named(front, row['name']))}</small>"
        body.append(_row(front, row, told, row.get("note", ""), kind="rival"))
    shown = table("front", f"<tr>{head}</tr>", "".join(body), columns=len(titles))
    return section("Networks", f"{shown}{note(_conditions(front))}")


def _backends(front: dict[str, Any]) -> list[str]:
    """What was timed, that by which points are compared first."""
    return sorted(front["unpruned"]["latency_ms"], key=lambda name: name != front["backend"])


def _row(front: dict[str, Any], row: dict[str, Any], told: str, mark: str, *, kind: str = "") -> str:
    """A line of the table; `told` is HTML."""
    whole = front["unpruned"]
    cells = [(wording.percent(words.accuracy(front, row)), words.drop(front, row))]
    for name in _backends(front):
        known = name in row["latency_ms"]
        cells.append(
            (wording.digits(row["latency_ms"][name]), f"{row['latency_ratio'][name]:.3f}") if known else ("", "")
        )
    cells += [(wording.short_count(row[key]), f"{row[key] / max(whole[key], 1):.3f}") for key in ("macs", "params")]
    if row is whole:
        cells = [(text, "") for text, _ in cells]
    tds = "".join(
        f"<td>{escape(text)}{f'<small>{escape(detail)}</small>' if detail else ''}</td>" for text, detail in cells
    )
    data = f' data-point="{escape(row["name"])}"' if kind != "rival" and "name" in row else ""
    return f'<tr class="{kind}"{data}><th scope="row">{told}</th>{tds}<td class="mark">{escape(mark)}</td></tr>'


def _conditions(front: dict[str, Any]) -> str:
    """How the figures came about, in a few sentences."""
    texts = ["Small figures are shares of the unpruned network's, and the change of accuracy."]
    if (timing := front["timing"]) and front["backend"] is not None:
        threads = f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}"
        texts.append(
            f"Latency: of a batch of {timing['batch']}, {threads}, on {front['device']}; each network was timed in its "
            "own run, in turn with the unpruned one; milliseconds are that ratio times the unpruned network's median."
        )
    cost = "MACs" if front["backend"] is None else f"latency in {wording.backend(front['backend'])}"
    texts.append(f"A network is beaten where another is no worse in accuracy and in {cost}.")
    texts.append(words.judged(front))
    return " ".join(texts)


def _commands(front: dict[str, Any]) -> str:
    text = "Each point is a run of its own, which every other command takes; this makes it again, in another work dir."
    items = [f"<h3>{escape(words.asked(point))}</h3><pre>{escape(point['command'])}</pre>" for point in front["points"]]
    return section("Commands", note(text) + "".join(items))


def _provenance(front: dict[str, Any]) -> str:
    goal = front["goal"]
    wish = {"target_accuracy": "at least {:g} %", "max_drop": "at most {:g} points less"}
    facts = {
        "recipe": front["recipe"],
        "goal": wish[goal["kind"]].format(goal["value"]) if goal else "none",
        "seed": front["seed"],
        "device": front["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in front["versions"].items()),
    }
    return section("Provenance", definitions(facts))
