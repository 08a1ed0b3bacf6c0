"""What seeds say: means with 95 % intervals, differences paired by seed, and the one sentence that they allow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and how far its 95 % interval reaches to either side; infinitely far for one seed."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half

    def shown(self, digits: int = 2) -> str:
        """`mean [low, high]`; the mean alone of one seed."""
        if self.n < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def interval(values: Sequence[float]) -> Interval:
    """By Student's t with n - 1 degrees of freedom."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return Interval(values[0], math.inf, n)
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return Interval(statistics.mean(values), half, n)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval:
    """Of `ours` - `theirs`, {seed: figure}, over the seeds that both have; ValueError where there are none."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        raise ValueError("no seed that both have")
    return interval([ours[seed] - theirs[seed] for seed in seeds])


def p_value(difference: Interval) -> float | None:
    """Two-sided, of Student's paired test that the difference is 0; None for one seed."""
    from scipy.stats import t

    if difference.n < 2:
        return None
    if difference.half == 0:
        return 0.0 if difference.mean else 1.0
    scale = float(t.ppf((1 + LEVEL) / 2, difference.n - 1))
    return float(2 * t.sf(abs(difference.mean) / difference.half * scale, difference.n - 1))


def verdict(name: str, other: str, difference: Interval, *, unit: str = "points of top-1") -> str:
    """The sentence that the paired interval of `name` - `other` allows; larger is better."""
    if difference.n < 2:
        return f"{name} and {other} cannot be told apart by one seed ({difference.mean:+.2f} {unit})."
    said = f"{difference.mean:+.2f} {unit} [{difference.low:.2f}, {difference.high:.2f}], {difference.n} seeds"
    if difference.low > 0:
        return f"{name} is ahead of {other}: {said}."
    if difference.high < 0:
        return f"{name} is behind {other}: {said}."
    return f"{name} and {other} cannot be told apart: {said}."


def draw(figures: Mapping[str, Sequence[float]], path: Path, *, label: str) -> None:
    """A dot for every seed of each method, its mean and 95 % interval, as an SVG."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 0.8 + 0.32 * len(figures)), layout="constrained")
        axes: Any = figure.subplots()
        for place, values in enumerate(figures.values()):
            found = interval(values)
            axes.plot(values, [place] * len(values), "o", color="#888888", markersize=3)
            error = found.half if math.isfinite(found.half) else 0.0
            axes.errorbar(found.mean, place, xerr=error, fmt="D", color="#14978b", capsize=3, markersize=5)
        axes.set_yticks(range(len(figures)), list(figures))
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
