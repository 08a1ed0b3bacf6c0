"""Hand-made inline SVG that follows the page's width and colours.

Positions along x are percentages and heights are pixels, so a plot stretches with the page while its text keeps its
size; colours are CSS classes, so one plot serves light, dark and paper. Curves live in a nested, stretched SVG whose
strokes do not scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .wording import MINUS


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Position of `value` in percent of the axis."""
        return 100 * (value - self.low) / (self.high - self.low)

    def label(self, tick: float) -> str:
        """A tick's text, with as many decimals as the step between ticks needs."""
        if abs(tick) >= 1e4:
            return f"{tick / 1e3:,g} k".replace("-", MINUS)
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(tick) or 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if round(step * 10**decimals, 6) != round(step * 10**decimals):  # a step of 2.5
            decimals += 1
        return f"{tick:.{decimals}f}".replace("-", MINUS)


@dataclass(frozen=True)
class Curve:
    """One curve: points (x, y), the CSS class of its colour, and its name in the legend."""

    points: Sequence[tuple[float, float]]
    colour: str
    name: str


def nice_axis(low: float, high: float, *, count: int = 4, whole: bool = False) -> Axis:
    """An axis that covers [low, high] and ends on round ticks; `whole` allows whole numbers only."""
    if high - low < 1e-30:
        pad = max(abs(high) * 0.05, 0.5 if whole else 1e-3)
        low, high = (0.0, 2 * pad) if low == high == 0 else (low - pad, high + pad)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{step * i:.12g}") for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def epoch_axis(last: int) -> Axis:
    """An axis of epochs 1 to `last` that ends exactly there, with whole ticks."""
    if last <= 1:
        return Axis(0.0, 2.0, (1.0,))
    ticks = [tick for tick in nice_axis(1, last, count=5, whole=True).ticks if 1 < tick <= last]
    ticks = [1.0, *(tick for tick in ticks if tick - 1 > 0.08 * last and (last - tick > 0.08 * last or tick == last))]
    return Axis(1.0, float(last), (*ticks, *(() if ticks[-1] == last else (float(last),))))


def line_chart(curves: Sequence[Curve], *, x: Axis, y: Axis, label: str, reference: float | None = None) -> str:
    """A chart of curves over epochs; `reference` draws a dashed horizontal line at that y."""
    height = 168
    parts = []
    if reference is not None:
        parts.append(across(reference, y=y, height=height))
    parts.append(lines(curves, x=x, y=y, height=height))
    for curve in curves:
        parts.append(dot(*curve.points[-1], x=x, y=y, height=height, colour=curve.colour))
    return framed("".join(parts), x=x, y=y, height=height, label=label)


def lines(curves: Sequence[Curve], *, x: Axis, y: Axis, height: int) -> str:
    """Marks for `framed`: every curve's points joined by straight lines."""
    paths = []
    for curve in curves:
        path = " ".join(f"{x.at(a):.3f},{100 - y.at(b):.3f}" for a, b in curve.points)
        paths.append(f'<polyline class="curve {curve.colour}" points="{path}"/>')
    box = f'width="100%" height="{height}" viewBox="0 0 100 100" preserveAspectRatio="none"'
    return f'<svg class="stretched" {box}>{"".join(paths)}</svg>'


def dot(a: float, b: float, *, x: Axis, y: Axis, height: int, colour: str, radius: float = 3.5, tip: str = "") -> str:
    """A mark for `framed`: a dot at (a, b), which shows `tip` under the pointer."""
    at = f'cx="{x.at(a):.2f}%" cy="{_down(y, b, height):.1f}" r="{radius:g}"'
    end = f"><title>{escape(tip)}</title></circle>" if tip else "/>"
    return f'<circle class="dot {colour}" {at}{end}'


def beside(a: float, b: float, text: str, *, x: Axis, y: Axis, height: int, below: bool = False) -> str:
    """A mark for `framed`: `text` above or `below` the point (a, b), to the left of it where the plot ends."""
    end = ' text-anchor="end"' if x.at(a) > 90 else ' text-anchor="middle"' if x.at(a) > 4 else ""
    down = _down(y, b, height) + (19 if below else -11)
    return f'<text class="tick told" x="{x.at(a):.2f}%" y="{down:.1f}"{end}>{escape(text)}</text>'


def across(b: float, *, y: Axis, height: int) -> str:
    """A mark for `framed`: a dashed horizontal line at b."""
    return f'<line class="reference" x1="0" x2="100%" y1="{_down(y, b, height):.1f}" y2="{_down(y, b, height):.1f}"/>'


def framed(
    marks: str,
    *,
    x: Axis,
    y: Axis,
    height: int,
    label: str,
    x_zero: float = 0.0,
    x_name: str = "",
    y_name: str = "",
) -> str:
    """Put marks on a plot area with grid lines, a gutter of y labels and a row of x labels.

    `x_zero` is the percentage of the width left of the x axis (for marks outside it). `x_name` is written under the
    x labels, `y_name` above the y labels; both say the unit.
    """
    gutter, grid = [], []
    for tick in y.ticks:
        at = _down(y, tick, height)
        gutter.append(f'<text class="tick" x="100%" y="{at + 4:.1f}" text-anchor="end">{y.label(tick)}</text>')
        kind = "base" if tick == y.low else "grid"
        grid.append(f'<line class="{kind}" x1="0" x2="100%" y1="{at:.1f}" y2="{at:.1f}"/>')
    for tick in x.ticks:
        at = x_zero + x.at(tick) * (100 - x_zero) / 100
        grid.append(f'<text class="tick" x="{at:.2f}%" y="{height + 18}" text-anchor="middle">{x.label(tick)}</text>')
    total = height + 24
    if x_name:
        total += 18
        middle = f'x="{(x_zero + 100) / 2:.2f}%" y="{height + 37}" text-anchor="middle"'
        grid.append(f'<text class="tick" {middle}>{escape(x_name)}</text>')
    if y_name:
        gutter.append(f'<text class="tick" x="0" y="-13">{escape(y_name)}</text>')
    named = " named" if y_name else ""
    return (
        f'<div class="plot{named}" role="img" aria-label="{escape(label)}">'
        f'<svg class="gutter" width="46" height="{total}" aria-hidden="true">{"".join(gutter)}</svg>'
        f'<svg class="area" width="100%" height="{total}" aria-hidden="true">{"".join(grid)}{marks}</svg></div>'
    )


def _down(axis: Axis, value: float, height: int) -> float:
    """Pixels from the top of a plot area of `height` pixels."""
    return height * (1 - axis.at(value) / 100)
