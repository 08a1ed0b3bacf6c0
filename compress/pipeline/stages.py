"""The stages that prune a network, and training or fine-tuning alone; they read and write files of the run's folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dist import is_main_process

from ..costs import Costed, breakdown
from ..engine.searching import search
from ..plan import WidthPlan, load_scores, read_lines, replacing, save_scores, sha256, write_json, write_text
from ..plan.run_files import METRICS_REMEDY, MetricsLine
from ..pruning import slice_model
from ..spaces import load_model, load_space, sizes
from .checks import SEARCHED, check_scores, check_searched
from .harms import measured_harms
from .latency_budget import select_plan
from .rounding import record_block
from .speed import check_speed, time_selected
from .stage import CHECKPOINT, Figures, Stage

if TYPE_CHECKING:
    from .networks import NetworkContext

BASELINE, SEARCHED_NETWORK, SLICED, MODEL = (
    f"{stem}.safetensors" for stem in ("baseline", "searched", "sliced", "model")
)
SCORES, PLAN = "scores.safetensors", "plan.json"


def load(c: NetworkContext, figures: Figures) -> None:
    """--checkpoint -> baseline.safetensors, baseline.json; its accuracy, and what widths are rounded to."""
    network, space = c.baseline
    figures.update(c.evaluate(network), **c.seen)
    record_block(c, space, figures)
    c.save("baseline", network, c.card(space))


def run_search(c: NetworkContext, figures: Figures) -> None:
    """baseline, or what the round before left of it -> scores.safetensors, searched.safetensors."""
    network, space, _ = load_model(c.folder / "baseline" if c.before is None else c.before / "model")
    watch = c.watch if c.watches else None
    found = search(network, space, c.task, c.recipe.search, c.job("search"), evaluate=watch)
    figures.update(c.evaluate(found.network), info=found.info)
    if is_main_process():
        save_scores(c.folder / SCORES, c.earlier.spread(found.scores))
    c.save("searched", found.network, c.card(space))


def copy_search(c: NetworkContext, figures: Figures) -> None:
    """The run of --search-from -> scores.safetensors, searched.safetensors, its rows of metrics.jsonl."""
    source = Path(c.search_from or "")
    done = check_searched(source, c, *load_model(c.folder / "baseline")[:2])
    c.progress.note(f"taken from {source}")
    figures.update({k: v for k, v in done.items() if k not in ("seconds", "finished")}, copied_from=str(source))
    for name in SEARCHED:
        with replacing(c.folder / name) as tmp:
            shutil.copyfile(source / name, tmp)
    metrics = source / "metrics.jsonl"  # scorers write none
    rows = read_lines(metrics, MetricsLine, remedy=METRICS_REMEDY) if metrics.exists() else []
    lines = [json.dumps(row) + "\n" for row in rows if row["stage"] == "search"]
    write_text(c.folder / "metrics.jsonl", "".join(lines))


def run_select(c: NetworkContext, figures: Figures) -> None:
    """scores (+ searched, where their harms are to be measured) -> plan.json."""
    space = load_space(c.folder / "baseline")
    scores = load_scores(c.folder / SCORES)
    check_scores(scores, sizes(space.groups), name=str(c.folder / SCORES))
    plan = select_plan(c, space, scores, c.earlier.kept, measured_harms(c, space, scores))
    plan.save(c.folder / PLAN)
    figures["pruned_ratio"] = plan.record["pruned_ratio"]
    if latency := plan.record.get("latency"):
        figures["latency"] = {key: latency[key] for key in ("ratio", "path") if key in latency}


def run_slice(c: NetworkContext, figures: Figures) -> None:
    """searched + plan -> sliced, complexity.json; how fast that is."""
    network, searched, card = load_model(c.folder / "searched")
    plan = WidthPlan.load(c.folder / PLAN)
    small, small_space = slice_model(network, searched, plan.within(c.earlier))
    figures.update(c.evaluate(small))
    if is_main_process():
        whole, space, _ = load_model(c.folder / "baseline")
        operators = space.operators(card.input_size)
        full = Costed(c.counted(whole), operators, sizes(space.groups))
        sliced = Costed(c.counted(small), operators, plan.widths)
        if not all(plan.kept.values()):  # what is left of a removed block has costs of its own
            sliced = Costed(c.counted(small), small_space.operators(card.input_size), sizes(small_space.groups))
        costs = breakdown(full, sliced, groups=space.groups, input_size=card.input_size)
        write_json(c.folder / "complexity.json", costs)
        time_selected(c, (whole, space), (small, small_space), plan, costs, figures)
    c.save("sliced", small, c.card(small_space, sha256(c.folder / PLAN)))


def run_finetune(c: NetworkContext, figures: Figures) -> None:
    """sliced (+ baseline as teacher) -> model, unless it is slower than --require-speedup allows."""
    check_speed(c)
    network, _, card = load_model(c.folder / "sliced")
    config = c.recipe.finetune
    teacher = load_model(c.folder / "baseline")[0] if config.distill is not None else None
    c.train(network, config, "finetune", teacher=teacher)
    figures.update(c.evaluate(network))
    c.save("model", network, card)


def train_network(c: NetworkContext, figures: Figures) -> None:
    """Nothing, or --checkpoint -> model: the recipe's unpruned network."""
    torch.manual_seed(c.recipe.seed)
    network, space = c.baseline if c.checkpoint is not None else (c.full_space.build(), c.full_space)
    c.train(network, c.recipe.train, "train")
    figures.update(c.evaluate(network), **c.seen)
    c.save("model", network, c.card(space))


def finetune_network(c: NetworkContext, figures: Figures) -> None:
    """--checkpoint (+ --teacher) -> model."""
    network, space = c.baseline
    figures["before"] = c.evaluate(network)
    teacher = None if c.teacher is None else load_model(c.teacher)[0]
    c.train(network, c.recipe.finetune, "finetune", teacher=teacher)
    figures.update(c.evaluate(network), **c.seen)
    c.save("model", network, c.card(space))


PRUNING: tuple[Stage[NetworkContext], ...] = (
    Stage("load", load, (CHECKPOINT,), (BASELINE,), along=True),
    Stage("search", run_search, (BASELINE,), (SCORES, SEARCHED_NETWORK), parallel=True),
    Stage("select", run_select, (BASELINE, SCORES, SEARCHED_NETWORK), (PLAN,)),
    Stage("slice", run_slice, (BASELINE, SEARCHED_NETWORK, PLAN), (SLICED, "complexity.json")),
    Stage("finetune", run_finetune, (BASELINE, SLICED), (MODEL,), parallel=True),
)
"""From a trained network to a pruned and fine-tuned one; what follows depends on how the network is deployed."""

FINETUNE_ALONE: Stage[NetworkContext] = Stage("finetune", finetune_network, (CHECKPOINT,), (MODEL,), parallel=True)


def train_alone(*, started: bool) -> Stage[NetworkContext]:
    """Training of an unpruned network, `started` from a checkpoint or from scratch."""
    return Stage("train", train_network, (CHECKPOINT,) if started else (), (MODEL,), parallel=True)


def copying(stage: Stage[NetworkContext]) -> Stage[NetworkContext]:
    """The search `stage` as --search-from does it: copied, by one process."""
    return replace(stage, run=copy_search, parallel=False)
