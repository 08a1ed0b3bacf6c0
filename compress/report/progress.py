"""Progress on the terminal: a bar with the time left where someone watches, plain lines where not."""

from __future__ import annotations

import time
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
    "select": "Selecting channels",
    "slice": "Slicing",
    "finetune": "Fine-tuning",
    "export": "Exporting to ONNX",
    "measure": "Measuring latency",
    "report": "Writing the report",
}


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
        self.started.append(time.perf_counter())
        self.console.print(f"[bold]{TITLES.get(stage, stage)}[/bold] ...")

    def start(self, stage: str, total: int, done: int) -> None:
        """Open a bar over `total` steps, `done` of which lie behind."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.total, self.steps, self.first, self.begun = total, done, done, time.perf_counter()
        if done:
            self.console.print(f"  resumed after {done} of {total} steps")
        if self.console.is_terminal and not self.console.quiet:
            times = (TimeElapsedColumn(), TextColumn("passed,"), TimeRemainingColumn(), TextColumn("left"))
            columns = (TextColumn("  {task.percentage:3.0f} %"), BarColumn(), *times)
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
        self.console.print(f"  {text}" + (f"  [dim]{_duration(left)} left[/dim]" if self.steps < self.total else ""))

    def done(self, stage: str, figures: dict[str, Any]) -> None:
        """Close the bar and print the stage's result."""
        self._close()
        result = "".join(f"  {name} {figures[key]:.2f} %" for key, name in SHORT.items() if key in figures)
        self.console.print(f"  [green]done[/green] in {_duration(time.perf_counter() - self.started.pop())}{result}")

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = self.task = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
        if minutes
        else f"{rest} s"
    )
