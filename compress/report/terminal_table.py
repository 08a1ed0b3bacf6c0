"""Rows of figures in the terminal: a table where there is room for one, and a list of them where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LEAST_NAME = 16
"""Characters that the names of rows have in a table; with fewer, the rows are a list."""


@dataclass(frozen=True)
class Line:
    """A row: its name and its cells, of one or more lines each; `strong` ones stand out."""

    name: str
    cells: Sequence[str]
    strong: bool = False


@dataclass(frozen=True)
class TerminalTable:
    """Rows under `titles`, one a cell; the last column is of words, which may wrap, where `words` says so.

    Example::

        TerminalTable(("before", "after"), [Line("MACs", ("31,021,056", "18,035,712"))]).print(rich.console.Console())
    """

    titles: Sequence[str]
    lines: Sequence[Line]
    name: str = ""
    title: str = ""
    caption: str = ""
    words: bool = False

    def table(self) -> Table:
        """All of it side by side, however wide."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        longest = max((len(part) for line in self.lines for part in line.name.split("\n")), default=0)
        table = Table(title=Text(self.title) if self.title else None, box=box.SIMPLE_HEAD, title_justify="left")
        table.caption, table.caption_justify = Text(self.caption) if self.caption else None, "left"
        table.add_column(self.name, overflow="fold", min_width=min(LEAST_NAME, longest))
        for i, title in enumerate(self.titles):
            wraps = self.words and i == len(self.titles) - 1
            table.add_column(Text(title), justify="left" if wraps else "right", no_wrap=not wraps)
        for line in self.lines:
            style = "bold" if line.strong else ""
            table.add_row(Text(line.name, style=style), *(Text(cell) for cell in line.cells))
        return table

    def print(self, console: Console) -> None:
        """As a table where no cell of it would be cut in this console, else row by row."""
        from rich.measure import Measurement

        table = self.table()
        wide = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
        if wide <= console.width:
            console.print(table)
        else:
            self._print_rows(console)

    def _print_rows(self, console: Console) -> None:
        from rich.table import Table
        from rich.text import Text

        if self.title:
            console.print(Text(self.title, style="italic"))
        for line in self.lines:
            console.print(Text(line.name.replace("\n", ", "), style="bold"))
            grid = Table.grid(padding=(0, 2), pad_edge=False)
            grid.add_column(no_wrap=True)
            grid.add_column(overflow="fold")
            for title, cell in zip(self.titles, line.cells, strict=True):
                if cell:
                    grid.add_row(f"  {title.replace(chr(10), ', ')}", Text(cell.replace("\n", ", ")))
            console.print(grid)
        if self.caption:
            console.print(Text(self.caption, style="dim italic"))
