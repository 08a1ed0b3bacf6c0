"""Numbers as words: one way to write counts, ratios, points and times in terminal and page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..plan.backends import BACKENDS
from ..plan.budget_kinds import BUDGETS
from ..plan.plan_file import Finer

MINUS = "\u2212"
DASH = "\u2013"


def count(value: float) -> str:
    """Whole number with thousands separators."""
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """Three significant digits and k, M or G: 31.0 M."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{digits(value / factor)} {unit}"
    return count(value)


def digits(value: float) -> str:
    """Three significant digits without an exponent: 0.412, 4.12, 41.2, 412, 4,120."""
    if value == 0:
        return "0"
    size = abs(value)
    for bound, decimals in ((99.95, 0), (9.995, 1), (0.9995, 2), (0.09995, 3), (0.009995, 4)):
        if size >= bound:
            return f"{value:,.{decimals}f}".replace("-", MINUS)
    return scientific(value)


def scientific(value: float) -> str:
    """Two significant digits with an exponent: 1.2e-06."""
    return f"{value:.1e}".replace("-", MINUS) if value else "0"


def percent(value: float) -> str:
    """Percent with two decimals."""
    return f"{value:.2f} %"


def points(delta: float) -> str:
    """Signed difference of two percentages."""
    if abs(delta) < 0.005:
        return "unchanged"
    return f"{'+' if delta > 0 else MINUS}{abs(delta):.2f} points"


def milliseconds(value: float) -> str:
    """Milliseconds with three significant digits."""
    return f"{digits(value)} ms"


def seconds(value: float) -> str:
    """Seconds, with minutes or hours beside them when there are many."""
    text = f"{value:,.1f} s"
    if value < 120:
        return text
    minutes = round(value / 60)
    return f"{text} ({minutes // 60} h {minutes % 60} min)" if minutes >= 60 else f"{text} ({minutes} min)"


def times(ratio: float, *, less: str, more: str) -> str:
    """Word a ratio after / before: '1.72 times fewer', '1.10 times more' or 'unchanged'."""
    if ratio <= 0:
        return DASH
    factor = max(ratio, 1 / ratio)
    if factor < 1.005:
        return "unchanged"
    return f"{factor:.2f} times {less if ratio < 1 else more}"


def verdict(ratio: Mapping[str, float]) -> Literal["faster", "slower", "unclear"]:
    """What a latency ratio says by its 10th and 90th percentiles: nothing where they lie on both sides of 1."""
    if ratio["p90"] < 1:
        return "faster"
    return "slower" if ratio["p10"] > 1 else "unclear"


NOISY = 1.5
"""Samples of one pair of networks that differ by more are other work's on the machine, not the networks'."""
UNTOLD = "samples of the same pair differ too much to tell (is other work on this machine?); "


def noisy(ratio: Mapping[str, float]) -> bool:
    """Whether a latency ratio says nothing because of what else the machine did meanwhile; not without a spread."""
    return "p10" in ratio and verdict(ratio) == "unclear" and ratio["p90"] > NOISY * ratio["p10"]


def speed(ratio: Mapping[str, float], name: str) -> str:
    """A latency ratio, `median` with `p10` and `p90` where they are known, in the backend `name`.

    '1.67 times faster in ONNX Runtime', '1.10 times slower in ..', 'not distinguishable in ..'.
    """
    words = times(ratio["median"], less="faster", more="slower")
    if "p10" in ratio and verdict(ratio) == "unclear":
        return f"latency not distinguishable in {backend(name)}"
    return f"latency unchanged in {backend(name)}" if words == "unchanged" else f"{words} in {backend(name)}"


def relative(before: float, after: float) -> str:
    """Signed change in percent of `before`."""
    if not before:
        return DASH
    change = 100 * (after - before) / before
    return f"{MINUS if change < 0 else '+'}{abs(change):.1f} %"


def backend(name: str) -> str:
    """A backend's proper name."""
    return BACKENDS.label(name)


def on_gpus(timing: dict[str, Any]) -> str:
    """Which backends of a latency.json ran on a GPU, and on which, after a semicolon; nothing where none did."""
    gpus = {name: entry["gpu"]["name"] for name, entry in timing["backends"].items() if entry.get("gpu")}
    return "".join(f"; {backend(name)} on {gpu}" for name, gpu in gpus.items())


def parts_of(what: str, finer: Finer) -> str:
    """Which groups may keep less than a whole block, and how much of it: of `what` widths are multiples of.

    "in narrow groups a half or a quarter of that" for "that", True.
    """
    narrow = "narrow groups" if finer is True else "narrow groups that spatial convolutions read"
    return f"in {narrow} a half or a quarter of {what}"


def budget(value: dict[str, Any] | None) -> str:
    """A budget in words: 'pruning ratio 0.4', 'free ratio'."""
    if not value:
        return "not recorded"
    kind = BUDGETS[value["kind"]]
    shown = (
        kind.words if kind.cost is None else f"{kind.words} {value['value']}" + (f" {kind.unit}" if kind.unit else "")
    )
    return ", ".join([shown, *(budget(other) for other in value.get("also", []))])
