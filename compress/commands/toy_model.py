"""Draw figure 2.1: trajectories of RARTS and first-order DARTS on the solvable model, and print the errors."""

from __future__ import annotations

from argparse import Namespace

from .parser import Parser, between, number


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--out", metavar="STEM", default="runs/toy_model", help="writes STEM.png and STEM.svg")
    parser.add_argument(
        "--steps", type=between(1, 1_000_000), default=3000, metavar="N", help="gradient steps per trajectory"
    )
    parser.add_argument(
        "--eta", type=between(1e-6, 0.1, number), default=0.01, metavar="R", help="learning rate of every variable"
    )


def main(args: Namespace) -> None:
    from rich.console import Console

    from ..plan import check_output
    from ..report.terminal_table import Line, TerminalTable
    from ..search.toy_figure import COLUMNS, draw_toy_model, toy_rows

    for suffix in (".png", ".svg"):
        check_output("--out", f"{args.out}{suffix}")
    for path in draw_toy_model(args.out, steps=args.steps, eta=args.eta):
        print(path)
    lines = [Line(name, cells) for name, cells in toy_rows(steps=args.steps, eta=args.eta)]
    TerminalTable(COLUMNS, lines, name="method").print(Console())
