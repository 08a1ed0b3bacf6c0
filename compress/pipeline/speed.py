"""Whether the selected network is faster than the unpruned one: told before minutes of fine-tuning are spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from ..measure.blocks import block_of
from ..measure.sliced import sliced_ratio
from ..plan import Range, UserError, WidthPlan
from ..plan.backends import BACKENDS
from ..report import wording
from ..spaces import Space
from .rounding import engine_of
from .stage import Figures

if TYPE_CHECKING:
    from .networks import NetworkContext

ARGUMENT = "--require-speedup"
SPEEDUP = Range(above=0, at_most=1000, remedy="1.2 asks for a network that is 1.2 times as fast")
QUIET = "time it again on a quiet machine, or with more samples (measure.repeats)"
NAMED = 4
"""Groups or layers that a reason names."""


def untimed_because(c: NetworkContext) -> str | None:
    """Why the selected network is not timed; None: it is."""
    if not c.recipe.measure.before_finetune:
        return "measure.before_finetune is False"
    if c.untimed:
        return c.untimed
    if c.table is not None and c.table.priced and c.table.forced:
        return "the latency table is another device's"
    backend = BACKENDS.need("measure.backends", engine_of(c))
    return f"{backend.name} compiles for minutes" if backend.compiles else backend.missing()


def check_required(c: NetworkContext) -> None:
    """UserError for a --require-speedup that is none, or where nothing would be timed."""
    if c.require_speedup is None:
        return
    SPEEDUP.check(ARGUMENT, c.require_speedup, whole=False)
    if why := untimed_because(c):
        raise UserError(
            f"nothing is timed before fine-tuning ({why}); leave it away",
            argument=ARGUMENT,
            value=c.require_speedup,
        )


def time_selected(
    c: NetworkContext,
    before: tuple[nn.Module, Space],
    after: tuple[nn.Module, Space],
    plan: WidthPlan,
    costs: Mapping[str, Any],
    figures: Figures,
) -> None:
    """Time the sliced network against the unpruned one; put the ratio, and the reason of a bad one, into `figures`.

    Nothing is timed, and nothing said, in rounds before the last and where `untimed_because` says why.

    Args:
        c: of the run.
        before, after: network and space.
        plan: that `after` was sliced by.
        costs: of every operator (complexity.json).
        figures: of the stage.
    """
    if c.aim == "round" or untimed_because(c):
        return
    backend = BACKENDS.need("measure.backends", engine_of(c))
    size = c.card(before[1]).input_size
    ratio = sliced_ratio(before, after, input_size=size, backend=backend, config=c.recipe.measure)
    speed: dict[str, Any] = {"backend": backend.name, "ratio": ratio}
    if wording.verdict(ratio) != "faster":
        block = block_of(backend.blocks, {group.kind for group in before[1].groups})
        speed["reason"] = reason(plan, costs, block, engine=backend.label)
    figures["speed"] = speed
    c.progress.note(f"selected: {told(speed)}")
    if "reason" in speed:
        c.progress.note(f"because: {_why(speed)}")


def told(speed: Mapping[str, Any]) -> str:
    """The ratio in words, with its spread."""
    ratio = speed["ratio"]
    spread = f"ratio {ratio['median']:.3f}, p10 {ratio['p10']:.3f}, p90 {ratio['p90']:.3f}"
    return f"{wording.speed(ratio, speed['backend'])} before fine-tuning ({spread})"


def _why(speed: Mapping[str, Any]) -> str:
    """The recorded reason, unless the machine's noise is one that comes first."""
    return wording.UNTOLD + QUIET if wording.noisy(speed["ratio"]) else str(speed["reason"])


def reason(plan: WidthPlan, costs: Mapping[str, Any], block: int, *, engine: str) -> str:
    """Why a network with fewer MACs is not faster, as far as its widths tell, and what to try."""
    share = costs["macs"]["after"]["formula"] / max(1, costs["macs"]["before"]["formula"])
    fell = f"MACs fell to {share:.2f} of what they were"
    odd = {name: n for name, n in plan.widths.items() if n % block and n < plan.sizes[name]}
    table = "give --latency-ratio with a table of `nncompress profile`"
    if odd:
        shown = _listed([f"{name} {width}" for name, width in odd.items()])
        return (
            f"{fell}, but {engine} computes {block} channels at once, and {len(odd)} of {len(plan.widths)} widths are "
            f"no multiples of it ({shown}); try select.round_to={block}, or {table}"
        )
    macs = {row["name"]: {side: row["macs"][side]["formula"] for side in row["macs"]} for row in costs["operators"]}
    whole = sum(found["after"] for found in macs.values()) or 1
    same = {name: n["after"] / whole for name, n in macs.items() if n["after"] >= n["before"] > 0}
    largest = sorted(same.items(), key=lambda item: -item[1])
    shown = _listed([f"{name} {100 * part:.0f} %" for name, part in largest])
    kept = f"; layers that did not shrink hold {100 * sum(same.values()):.0f} % of the rest ({shown})" if same else ""
    return f"{fell}{kept}; try a smaller budget, or {table}"


def _listed(names: list[str]) -> str:
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


def check_speed(c: NetworkContext) -> None:
    """UserError where the selected network is not as fast as --require-speedup asks for; the run can go on."""
    if c.require_speedup is None or c.aim == "round":
        return
    speed: Any = c.folder.stages["slice"].get("speed")
    if speed is None:
        raise UserError(
            "the slice stage of this run has timed nothing; leave it away, or start a new run",
            argument=ARGUMENT,
            value=c.require_speedup,
        )
    untold = c.require_speedup > 1 and wording.verdict(speed["ratio"]) == "unclear"
    if untold or 1 / speed["ratio"]["median"] < c.require_speedup:
        why = f": {_why(speed)}" if "reason" in speed else "; give a smaller budget"
        raise UserError(
            f"not reached: {told(speed)}{why}",
            argument=ARGUMENT,
            value=c.require_speedup,
            remedy="or go on with --resume and without it",
        )
