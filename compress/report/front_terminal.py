"""A front in the terminal: a row for each network, and what the goal picks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import front_words as words
from . import rows, wording
from .terminal_table import Line, TerminalTable

if TYPE_CHECKING:
    from rich.console import Console


def print_front(front: dict[str, Any], console: Console | None = None) -> None:
    """Print the networks of a front.json, which of them others beat, and the point that its goal picks.

    Example::

        print_front(json.loads(Path("runs/front/front.json").read_text()))
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    backend = front["backend"]
    timed = [] if backend is None else [f"{wording.backend(backend)}\nms (ratio)"]
    lines, best = [], words.picked(front)
    for row in (front["unpruned"], *front["points"]):
        pruned = "name" in row
        latency = [] if backend is None else [_latency(row, backend)]
        mark = ("picked" if row is best else words.standing(front, row)) if pruned else ""
        level = wording.percent(words.accuracy(front, row)) + (f"\n{words.drop(front, row)}" if pruned else "")
        counts = [wording.short_count(row[key]) for key in ("macs", "params")]
        told = words.asked(row) if pruned else "unpruned"
        lines.append(Line(told, (*latency, *counts, level, mark), strong=row is best))
    TerminalTable(
        (*timed, "MACs", "parameters", rows.SHORT[front["metric"]], ""),
        lines,
        title=f"{front['model']} on {front['dataset']}: accuracy on the {front['evaluated_on']} split",
        words=True,
    ).print(console)
    console.print(Text(words.verdict(front), style="bold"))
    if warning := words.flattered(front):
        console.print(Text(f"warning: {warning}", style="yellow"))


def _latency(row: dict[str, Any], backend: str) -> str:
    return f"{wording.digits(row['latency_ms'][backend])} ({row['latency_ratio'][backend]:.3f})"
