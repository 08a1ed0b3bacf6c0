"""Models timed against each other, as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .terminal_table import Line, TerminalTable

if TYPE_CHECKING:
    from rich.console import Console


def print_benchmark(result: dict[str, Any], console: Console | None = None) -> None:
    """Print what `benchmark_models` returned: a row for each model, what it ran on, and a warning after a drift.

    Example::

        print_benchmark(json.loads(Path("benchmark.json").read_text()))
    """
    from rich.console import Console
    from rich.text import Text

    console, lines = console or Console(), []
    for row in result["rows"]:
        ms, ratio = row["ms"], row["ratio"]
        cells = (
            f"{ms['median']:.3f}\n{ms['p10']:.3f}-{ms['p90']:.3f}",
            f"{ratio['median']:.3f}\n{ratio['p10']:.3f}-{ratio['p90']:.3f}",
            f"{row['bytes'] / 1e6:.2f}",
            "" if row["weights"] is None else f"{row['weights']:,}",
        )
        lines.append(Line(f"{row['file']}\n{row['backend']}", cells))
    titles = ("median ms\np10-p90", "ratio\np10-p90", "MB", "weights")
    TerminalTable(titles, lines, name="model").print(console)
    gpu = f", {result['gpu']['name']}" if result["gpu"] else ""
    n_images, threads, n = result["batch"], result["threads"], result["rows"][0]["ms"]["n"]
    told = (
        f"{result['device']}{gpu}; batch {n_images}, threads {threads}, {n} samples each, in turn; ratios to the first"
    )
    console.print(Text(told))
    if result["drifted"]:
        before, after = (result["reference_ms"][key] for key in ("before", "after"))
        slower = f"a fixed matrix product took {before:.3f} ms before and {after:.3f} ms after"
        console.print(Text(f"warning: the machine's speed changed meanwhile ({slower}); run it again", style="yellow"))
