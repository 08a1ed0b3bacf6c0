"""The before/after table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import wording
from .rows import comparison, headline, judged_by, warnings
from .run_contents import check_summary

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
    from rich import box
    from rich.table import Table
    from rich.text import Text

    check_summary(summary)
    title = f"{summary['model']} on {summary['dataset']}, budget: {wording.budget(summary.get('budget'))}"
    caption = f"{judged_by(summary)}; latency: median (p10, p90, n) in ms per batch"
    table = Table(title=Text(title), caption=Text(caption), box=box.SIMPLE_HEAD, title_justify="left")
    table.caption_justify = "left"
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison(summary):
        cells = (row.before, row.before_detail), (row.after, row.after_detail), (row.change, row.change_detail)
        lines = ("\n".join([text, *detail.split(", ")]).rstrip() for text, detail in cells)
        table.add_row(Text(row.label), *(Text(line) for line in lines))
    return table


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print the headline, the before/after table and any warning of a run.

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
    table = summary_table(summary)
    console.print(table)
    console.print(Text(headline(summary), style="bold"))
    for warning in warnings(summary):
        console.print(Text(f"warning: {warning}", style="yellow"))
