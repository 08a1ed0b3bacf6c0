"""The before/after table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import wording
from .rows import comparison, headline, judged_by, warnings
from .run_contents import check_summary
from .terminal_table import Line, TerminalTable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def summary_table(summary: dict[str, Any]) -> Table:
    """Build the before/after table of a run: costs, accuracy, latency per backend and parity.

    Args:
        summary: the content of `summary.json` (accuracies in percent, latencies in milliseconds per batch).

    Raises:
        UserError: `summary` is not a summary of format 1.

    Example::

        summary = json.loads(Path("runs/digits/summary.json").read_text())
        table = summary_table(summary)
        rich.print(table)
    """
    return _comparison(summary).table()


def _comparison(summary: dict[str, Any]) -> TerminalTable:
    check_summary(summary)
    lines = []
    for row in comparison(summary):
        cells = (row.before, row.before_detail), (row.after, row.after_detail), (row.change, row.change_detail)
        shown = ["\n".join([text, *detail.split(", ")]).rstrip() for text, detail in cells]
        lines.append(Line(row.label, shown))
    return TerminalTable(
        ("before", "after", "change"),
        lines,
        title=f"{summary['model']} on {summary['dataset']}, budget: {wording.budget(summary.get('budget'))}",
        caption=f"{judged_by(summary)}; latency: median (p10, p90, n) in ms per batch",
    )


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print the before/after table of a run, as a list where it would not fit, the headline, and any warning.

    Args:
        summary: the content of `summary.json`.
        console: where to print; the terminal by default.

    Raises:
        UserError: `summary` is not a summary of format 1.

    Example::

        summary = json.loads(Path("runs/digits/summary.json").read_text())
        print_summary(summary)
        print_summary(summary, rich.console.Console(stderr=True))
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    _comparison(summary).print(console)
    console.print(Text(headline(summary), style="bold"))
    for warning in warnings(summary):
        console.print(Text(f"warning: {warning}", style="yellow"))
