"""What a run is made of: stages, each a function with the files that it reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C", contravariant=True)

Figures = dict[str, object]
"""What stages.json records of a stage besides its time: plain values."""

CHECKPOINT = "--checkpoint"
"""Stands among what a stage reads for the weights that the user gives."""


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One stage of a run whose context is a C, which its function is given with a dict for the stage's figures.

    Args:
        name: as stages.json, metrics.jsonl and --stage have it.
        run: does the work.
        reads: files of the run's folder that it needs, and CHECKPOINT; a network is named by its weights.
        writes: files of the run's folder that it leaves.
        parallel: every process of a launcher takes part; else the first works alone and the others wait.
        along: costs so little that it is run along where a later stage is asked for alone.
    """

    name: str
    run: Callable[[C, Figures], None]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    parallel: bool = False
    along: bool = False


def in_order(*stages: Stage[C]) -> dict[str, Stage[C]]:
    """`stages` by name; ValueError where one reads what none before it writes, or two have one name.

    Example::

        STAGES = in_order(Stage("load", load, (CHECKPOINT,), ("baseline.safetensors",)), Stage("report", tell))
    """
    written = {CHECKPOINT}
    for stage in stages:
        if absent := sorted({*stage.reads} - written):
            raise ValueError(f"stage {stage.name!r} reads {absent[0]!r}, which no stage before it writes")
        written.update(stage.writes)
    ordered = {stage.name: stage for stage in stages}
    if len(ordered) < len(stages):
        raise ValueError(f"two stages have one name: {[stage.name for stage in stages]}")
    return ordered


def needed(stages: Mapping[str, Stage[C]], name: str) -> list[str]:
    """The stages, in order, whose files the stage `name` needs, itself or through others."""
    wanted, found = set(stages[name].reads), []
    before = list(stages)[: list(stages).index(name)]
    for other in reversed(before):
        if wanted.intersection(stages[other].writes):
            found.append(other)
            wanted.update(stages[other].reads)
    return found[::-1]
