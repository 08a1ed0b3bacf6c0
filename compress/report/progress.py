"""Progress on the terminal: a bar with the time left where someone watches, plain lines where not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .rows import SHORT

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

TITLES = {
    "images": "Looking at the images",
    "train": "Training the baseline",
    "load": "Loading the checkpoint",
    "steps": "Pruning in rounds",
    "points": "Pruning under each budget",
    "search": "Searching",
    "discretise": "Reading the cells off",
    "harms": "Measuring what fewer channels cost",
    "select": "Selecting channels",
    "slice": "Slicing",
    "finetune": "Fine-tuning",
    "export": "Exporting to ONNX",
    "measure": "Measuring latency",
    "report": "Writing the report",
}


SPINNING = ("load", "export", "report")
"""Stages without a bar that may take long. Not those that time networks: a spinner would disturb them."""

LEAST_BAR, MOST_BAR = 8, 40
"""Characters of a bar; what stands beside it takes as many as the longest."""


class TerminalProgress:
    """Tells what stage runs, how far it is and when it ends; safe to use in any process (`quiet` prints nothing).

    As a context it takes a bar away, and gives the cursor back, when a run is stopped or fails.

    Example::

        with TerminalProgress() as progress:
            train_baseline(recipe, "runs/base", progress=progress)
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console

        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.spinner: Progress | None = None
        self.begun = time.perf_counter()
        self.started: list[float] = []
        """When each stage began that has not ended: stages may hold others."""
        self.total = self.steps = self.first = 0

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def announce(self, stage: str) -> None:
        """Print the stage's title."""
        self._close()
        self.started.append(time.perf_counter())
        self.console.print(f"[bold]{TITLES.get(stage, stage)}[/bold] ...")
        if stage in SPINNING:
            self._spin()

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner behind `text` while the block runs, where someone watches; elsewhere nothing."""
        self._spin(text)
        try:
            yield
        finally:
            self._close()

    def _spin(self, text: str = "") -> None:
        """Show that something goes on whose end nobody knows, and for how long it has."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        if self.console.is_terminal and not self.console.quiet:
            columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
            self.spinner = Progress(*columns, console=self.console, transient=True)
            self.spinner.add_task(text, total=None)
            self.spinner.start()

    def start(self, stage: str, total: int, done: int) -> None:
        """Open a bar over `total` steps, `done` of which lie behind."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._close()
        self.total, self.steps, self.first, self.begun = total, done, done, time.perf_counter()
        if done:
            self.console.print(f"  resumed after {done} of {total} steps")
        if self.console.is_terminal and not self.console.quiet:
            times = (TimeElapsedColumn(), TextColumn("passed,"), TimeRemainingColumn(), TextColumn("left"))
            width = max(LEAST_BAR, min(MOST_BAR, self.console.width - MOST_BAR))
            columns = (TextColumn("  {task.percentage:3.0f} %"), BarColumn(width), *times)
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(stage, total=total, completed=done)
            self.bar.start()

    def advance(self) -> None:
        """One step more."""
        self.steps += 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.steps)

    def note(self, text: str) -> None:
        """A line above the bar, with the time left."""
        pace = (time.perf_counter() - self.begun) / max(1, self.steps - self.first)
        left = pace * (self.total - self.steps)
        self._print(text, f"  {_duration(left)} left" if self.steps < self.total else "")

    def _print(self, text: str, dim: str) -> None:
        """A line, word for word: names in it may have brackets. Terminals get it wrapped between words, pipes whole."""
        from rich.padding import Padding
        from rich.text import Text

        line = Text.assemble(text, (dim, "dim"))
        if self.console.is_terminal:
            self.console.print(Padding(line, (0, 0, 0, 2), expand=False), soft_wrap=False)
        else:
            self.console.print("  ", line, sep="")

    def done(self, stage: str, figures: dict[str, Any]) -> None:
        """Close the bar and print the stage's result."""
        self._close()
        result = "".join(f"  {name} {figures[key]:.2f} %" for key, name in SHORT.items() if key in figures)
        self.console.print(f"  [green]done[/green] in {_duration(time.perf_counter() - self.started.pop())}{result}")

    def _close(self) -> None:
        for shown in (self.spinner, self.bar):
            if shown is not None:
                shown.stop()
        self.spinner = self.bar = self.task = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
        if minutes
        else f"{rest} s"
    )
