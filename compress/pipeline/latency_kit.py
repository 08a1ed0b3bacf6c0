"""Selection that another device corrects: the candidates go there as a kit, and the run goes on with their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..costs import LatencyTable
from ..measure import TableConfig
from ..measure.kit.ondevice.main import ENGINES
from ..measure.kit.reading import KitResult, check_designs, read_manifest, read_measured
from ..measure.kit.writing import how_to_go_on, write_kit
from ..plan import UserError, WidthPlan, check_output_folder
from ..plan.backends import OWN
from ..plan.kit_file import MANIFEST, MEASURED
from ..pruning import Budget, Priced
from ..spaces import Space

if TYPE_CHECKING:
    from .networks import NetworkContext

ARGUMENT = "--latency-kit"

LADDER = (1.0, 0.8, 0.87, 0.92, 0.96, 1.04, 1.08, 1.14, 1.22, 1.35)
"""What the table's predictions are multiplied by, for a candidate each: one trip to the device must do."""

SAME = ("device", "backend", "provider", "threads", "batch")
"""What the table and the times of the candidates must agree in."""


class PausedError(UserError):
    """The run stops here, and nothing is wrong: the text says what is to be done before it goes on."""


def check_latency_kit(c: NetworkContext) -> None:
    """UserError where --latency-kit would do nothing, or cannot be done."""
    if c.latency_kit is None:
        return
    place = f"{ARGUMENT} {c.latency_kit}"
    if c.budget.latency is None:
        raise UserError(f"{place}: corrects a latency budget; give --latency-ratio or --latency-ms, or leave it away")
    if c.steps > 1:
        raise UserError(f"{place}: a run of --steps {c.steps} selects in every round; leave one of them away")
    if c.launcher != "none":
        raise UserError(f"{place}: a run that stops on the way has one process; leave --launcher away")
    check_output_folder(ARGUMENT, c.latency_kit)


def select_by_kit(
    c: NetworkContext, space: Space, plan_with: Callable[[Priced], WidthPlan], priced: Priced
) -> WidthPlan:
    """The candidate that the device measured closest below the budget; its record has all of them as its path.

    Raises PausedError, once the kit is written, while there are no times; UserError for a kit, or times, of other
    candidates, and for times of another device than the table's.
    """
    _check_engine(c, priced.table)
    found, folder, size = candidates(plan_with, priced), Path(c.latency_kit or ""), c.card(space).input_size
    designs = [plan.widths for plan, _ in found]
    if (folder / MANIFEST).is_file():
        check_designs(folder / MANIFEST, read_manifest(folder / MANIFEST, space, size), designs)
    else:
        config = TableConfig(batch=priced.table.key.get("batch", c.recipe.measure.batch), multiple=1)
        write_kit(space, folder, "plans", designs, input_size=size, config=config, progress=c.progress)
    if not (folder / MEASURED).is_file():
        raise PausedError(f"{how_to_go_on(folder, as_timed(priced.table))}; then give the same command with --resume")
    measured = read_measured(folder / MEASURED, space, size)
    _check_device(measured, priced.table)
    return closest(found, measured.ratios(designs), c.progress.note)


def as_timed(table: LatencyTable) -> list[str]:
    """The options by which a kit's script times as the networks of `table` were timed; none where it is not said.

    Example::

        as_timed(LatencyTable.load("table.json"))  # ["--engine", "openvino", "--threads", "1"]
    """
    backend, threads = table.key.get("backend"), table.key.get("threads", 1)
    provider = table.key.get("provider") or ("CPUExecutionProvider" if backend == "onnxruntime" else None)
    if provider in ENGINES:
        backend, provider = provider, None  # trtexec, which is TensorRT's
    if backend not in ENGINES:
        return []
    named = ["--provider", provider] if provider else []
    return ["--engine", backend, *named, "--threads", str(threads)]


def _check_engine(c: NetworkContext, table: LatencyTable) -> None:
    """UserError for a table of PyTorch's times, which no kit's script takes."""
    backend = table.key.get("backend")
    if backend in OWN and backend not in ENGINES:
        raise UserError(
            f"{ARGUMENT} {c.latency_kit}: the latency table is of {backend!r}, which kits are not timed by; give a "
            f"table of {', '.join(ENGINES)}, or leave it away"
        )


def candidates(plan_with: Callable[[Priced], WidthPlan], priced: Priced) -> list[tuple[WidthPlan, float]]:
    """Plans that differ, each selected with the table's predictions multiplied, and by how much.

    Raises UserError where the table itself puts the budget out of reach.
    """
    found: list[tuple[WidthPlan, float]] = []
    for correction in LADDER:
        try:
            plan = plan_with(replace(priced, correction=correction))
        except UserError:
            if not found:
                raise
            continue  # out of reach, if everything is so much slower
        if all(plan.widths != other.widths for other, _ in found):
            found.append((plan, correction))
    return found


def closest(
    found: Sequence[tuple[WidthPlan, float]], ratios: Sequence[float], note: Callable[[str], None]
) -> WidthPlan:
    """Of the plans `found` the one whose measured `ratios` meet the budget most closely from below, or the closest."""
    limit = limit_of(found[0][0])
    path = [
        {"correction": correction, "predicted": plan.record["latency"]["ratio"], "measured": ratio}
        for (plan, correction), ratio in zip(found, ratios, strict=True)
    ]
    best = min(range(len(path)), key=lambda i: (ratios[i] > limit, abs(ratios[i] - limit)))
    note(f"kept of {len(path)} selections: the one that measured {ratios[best]:.3f}, the budget is {limit:.3f}")
    plan = found[best][0]
    return replace(plan, record={**plan.record, "latency": {**plan.record["latency"], "path": path}})


def limit_of(plan: WidthPlan) -> float:
    """The latency budget of `plan` as a ratio."""
    budget = Budget.from_json(plan.record["budget"]).latency
    assert budget is not None, "only plans under a latency budget are corrected"
    return (budget.value or 0.0) / (1.0 if budget.limits.ratio else plan.record["latency"]["unpruned_ms"])


def _check_device(measured: KitResult, table: LatencyTable) -> None:
    """UserError where the candidates were timed in another way, or elsewhere, than the table's networks."""
    here = measured.key
    for name in SAME:
        if here.get(name) != table.key.get(name):
            raise UserError(
                f"{measured.path}: {name} = {here.get(name)!r:.200}, but the latency table has "
                f"{table.key.get(name)!r:.200}; time the kit where, and as, the table's was"
            )
