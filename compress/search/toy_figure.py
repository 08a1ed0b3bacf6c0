"""Figure 2.1 of the thesis: trajectories on the solvable model, and a table of where the methods end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..plan import needs, replacing
from .bilevel import Darts1, Darts2, MiLeNas1
from .rarts import Rarts
from .theory import OPTIMUM, equilibrium, toy_trajectory

VALUES = (5.0, 10.0, 15.0)
STARTS = ((0.0, 0.0), (3.0, 0.5), (0.5, 3.0))
"""(w, alpha) where trajectories begin; the third panel uses all, the others the first."""
COLOURS = ("#0072b2", "#d55e00", "#009e73")
COLUMNS = ("w", "alpha", "closed form (w, alpha)", "distance to (1, 1)")
"""Of the table of where the methods end."""


def draw_toy_model(stem: str | Path, *, steps: int, eta: float) -> list[Path]:
    """Write `stem`.png and `stem`.svg: RARTS for several beta, several lambda and several starts, beside DARTS.

    Raises UserError without matplotlib, and through the methods for settings they refuse.
    """
    matplotlib = needs("matplotlib", package="matplotlib", extra="demo", what="a figure")
    with matplotlib.rc_context({"svg.hashsalt": "toy", "font.size": 10}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4.2), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        base = Rarts(lam=10.0, beta=10.0)
        for panel, symbol, other in ((panels[0], "β", "λ"), (panels[1], "λ", "β")):
            methods = [replace(base, beta=v) if symbol == "β" else replace(base, lam=v) for v in VALUES]
            _panel(panel, [(method, STARTS[0]) for method in methods], steps, eta)
            panel.set_title(f"RARTS, {other} = 10, several {symbol}")
            panel.legend([f"{symbol} = {v:g}" for v in VALUES] + ["DARTS, first order"], loc="upper left")
        _panel(panels[2], [(base, start) for start in STARTS], steps, eta)
        panels[2].set_title("RARTS, λ = β = 10, several starts")
        panels[2].legend([f"from ({a:g}, {w:g})" for w, a in STARTS] + ["DARTS, first order"], loc="upper left")
        panels[0].set_ylabel("weight w")
        paths = [Path(f"{stem}.png"), Path(f"{stem}.svg")]
        for path in paths:
            with replacing(path) as tmp:
                figure.savefig(tmp, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _panel(panel: Any, runs: list[tuple[Rarts, tuple[float, float]]], steps: int, eta: float) -> None:
    starts = dict.fromkeys(start for _, start in runs)
    for (method, start), colour in zip(runs, COLOURS, strict=True):
        path = toy_trajectory(method, start=start, steps=steps, eta=eta)
        panel.plot(path[:, 1], path[:, 0], color=colour, linewidth=1.8)
        panel.plot(path[-1, 1], path[-1, 0], "o", color=colour, markersize=4, label="_")
    for start in starts:
        path = toy_trajectory(Darts1(), start=start, steps=steps, eta=eta)
        panel.plot(path[:, 1], path[:, 0], color="#888888", linestyle="--", linewidth=1.2)
    panel.plot(OPTIMUM[1], OPTIMUM[0], "*", color="black", markersize=13)
    panel.annotate("optimum (1, 1)", (OPTIMUM[1], OPTIMUM[0]), xytext=(8, -14), textcoords="offset points")
    panel.plot(2, 2, "x", color="#888888", markersize=8, markeredgewidth=2)
    panel.annotate("(2, 2)", (2, 2), xytext=(8, -4), textcoords="offset points", color="#666666")
    panel.set(xlim=(-0.2, 3.2), ylim=(-0.2, 4.2), xlabel="architecture parameter α")  # noqa: RUF001
    panel.grid(color="#e6e6e6", linewidth=0.6)
    panel.set_axisbelow(True)


def toy_rows(*, steps: int, eta: float) -> list[tuple[str, tuple[str, ...]]]:
    """Each method and its COLUMNS: where it ends from (0, 0), the closed form, if any, the distance to the optimum."""
    rows: list[tuple[str, tuple[str, ...]]] = []
    methods: list[tuple[str, Any]] = [
        *((f"RARTS, lambda = beta = {v:g}", Rarts(lam=v, beta=v)) for v in VALUES),
        ("RARTS fused, lambda = beta = 10", Rarts(lam=10.0, beta=10.0, order="fused")),
        ("DARTS, first order", Darts1()),
        ("DARTS, second order, xi = 1/2", Darts2(xi=0.5)),
        ("MiLeNAS, first order, lambda = 1", MiLeNas1(1.0)),
    ]
    for name, method in methods:
        w, alpha = toy_trajectory(method, start=STARTS[0], steps=steps, eta=eta)[-1].tolist()
        closed = "-"
        if isinstance(method, Rarts):
            closed = "({1:.4f}, {2:.4f})".format(*equilibrium(method.lam, method.beta))
        rows.append((name, (f"{w:.4f}", f"{alpha:.4f}", closed, f"{math.hypot(w - 1, alpha - 1):.4f}")))
    return rows
