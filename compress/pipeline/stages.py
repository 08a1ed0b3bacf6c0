"""The stages of a run. Each reads files of the run's folder, writes files there, and can start alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, is_distributed, is_main_process
from torch import nn

from ..engine.data import ImageData, load_data
from ..engine.hooks import Progress
from ..engine.loaders import eval_loader
from ..engine.searching import search
from ..engine.training import Job, evaluate_top1, train
from ..export import compare_with_onnx, export_onnx
from ..measure import measure_latency
from ..plan import UserError, WidthPlan, load_scores, read_json, replacing, save_scores, sha256, write_json, write_text
from ..pruning import Budget, select, slice_model
from ..spaces import Card, Space, load_model, load_state, make_space, read_state, save_model, sizes
from .folder import RunFolder
from .recipe import Recipe
from .summary import write_summary

EVAL_BATCH = 250


@dataclass
class Context:
    """What every stage is given."""

    recipe: Recipe
    progress: Progress
    budget: Budget = field(default_factory=Budget)
    checkpoint: str | None = None
    trust: bool = False
    search_from: str | None = None
    resume: bool = False
    launcher: str = "none"
    folder: RunFolder = field(init=False)

    def open(self, work_dir: str | Path, record: dict[str, Any]) -> dict[str, Any]:
        """Open the run's folder and return its finished stages.

        Everything a user can get wrong is read and checked first: data, checkpoint, budget, the searched run.
        """
        space = self.full_space
        done = RunFolder.peek(work_dir, record, resume=self.resume)
        if self.checkpoint is not None and "load" not in done:
            space = self.baseline[1]
            operators = space.operators(self.card(space).input_size)
            equal = {group.name: torch.ones(group.size) for group in space.groups}
            select(equal, operators, self.budget, self.recipe.select, space=space.name)
        if self.search_from is not None and "search" not in done:
            check_searched(Path(self.search_from))
        if is_main_process():
            RunFolder.create(work_dir, record)
        if is_distributed():
            barrier()
        self.folder = RunFolder(work_dir)
        return self.folder.stages

    @cached_property
    def baseline(self) -> tuple[nn.Module, Space]:
        """The network of --checkpoint and its space."""
        path = Path(self.checkpoint or "")
        if path.is_dir() or path.with_suffix(".json").is_file():
            return _load_own(self, path)
        network = self.full_space.build()
        load_state(network, read_state(path, trust=self.trust), source=f"--checkpoint {path}")
        return network, self.full_space

    @cached_property
    def data(self) -> ImageData:
        """The recipe's data, read once."""
        return load_data(self.recipe.data, seed=self.recipe.seed)

    @cached_property
    def full_space(self) -> Space:
        """The recipe's space with the data's number of classes."""
        arch = {key: value for key, value in self.recipe.space.items() if key != "type"}
        channels = self.data.preprocessing["input_size"][0]
        return make_space(
            self.recipe.space["type"], {"num_classes": len(self.data.classes), "in_channels": channels, **arch}
        )

    def card(self, space: Space, plan_sha256: str | None = None) -> Card:
        """The card of a network of `space` trained on this data."""
        return Card(space.name, space.arch, self.data.classes, self.data.preprocessing, plan_sha256)

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Top-1 and loss on the evaluation split."""
        return evaluate_top1(network, eval_loader(self.data.test, batch_size=EVAL_BATCH))

    def job(self, stage: str) -> Job:
        """Folder and settings of a training stage."""
        return Job(
            folder=self.folder / stage,
            metrics=self.folder / "metrics.jsonl",
            stage=stage,
            seed=self.recipe.seed,
            progress=self.progress,
            resume=self.resume,
            launcher=self.launcher,
            num_workers=self.recipe.data.num_workers,
        )


def load(c: Context, figures: dict[str, Any]) -> None:
    """--checkpoint -> baseline.safetensors, baseline.json; its accuracy."""
    network, space = c.baseline
    figures.update(c.evaluate(network))
    save_model(c.folder / "baseline", network, c.card(space))


def _load_own(c: Context, path: Path) -> tuple[nn.Module, Space]:
    network, _, card = load_model(path)
    if card.space != c.recipe.space["type"] or len(card.classes) != len(c.data.classes):
        raise UserError(
            f"--checkpoint {path}: a {card.space} with {len(card.classes)} classes, but the recipe asks for "
            f"{c.recipe.space['type']} on {c.data.name} with {len(c.data.classes)}; use the checkpoint's recipe"
        )
    if odd := [k for k, v in c.recipe.space.items() if k not in ("type", "score_inputs") and card.arch.get(k) != v]:
        shown = ", ".join(f"{k} = {card.arch.get(k)!r} there, {c.recipe.space[k]!r} in the recipe" for k in odd)
        raise UserError(f"--checkpoint {path}: a checkpoint of another architecture ({shown}); correct space.{odd[0]}")
    # What is scored is this run's choice; the widths are the checkpoint's, so a pruned network can be pruned again.
    again = make_space(card.space, {**c.full_space.arch, "widths": card.arch.get("widths", {})})
    return network, again


def run_search(c: Context, figures: dict[str, Any]) -> None:
    """baseline -> scores.safetensors, searched.safetensors; with --search-from these come from another run."""
    if c.search_from is not None:
        return _copy_search(c, Path(c.search_from), figures)
    network, space, _ = load_model(c.folder / "baseline")
    found = search(network, space, c.data, c.recipe.search, c.job("search"), evaluate=c.evaluate)
    figures.update(c.evaluate(found.network), info=found.info)
    save_scores(c.folder / "scores.safetensors", found.scores)
    save_model(c.folder / "searched", found.network, c.card(space))


def _copy_search(c: Context, source: Path, figures: dict[str, Any]) -> None:
    done = check_searched(source)
    theirs, ours = (sha256(folder / "baseline.safetensors") for folder in (source, c.folder.path))
    if theirs != ours:
        raise UserError(
            f"--search-from {source}: searched from another checkpoint; give this run the same --checkpoint"
        )
    figures.update({k: v for k, v in done.items() if k not in ("seconds", "finished")}, copied_from=str(source))
    for name in ("scores.safetensors", "searched.safetensors", "searched.json"):
        with replacing(c.folder / name) as tmp:
            shutil.copyfile(source / name, tmp)
    rows = [row for row in (source / "metrics.jsonl").read_text().splitlines() if '"stage": "search"' in row]
    write_text(c.folder / "metrics.jsonl", "".join(row + "\n" for row in rows))


def check_searched(source: Path) -> dict[str, Any]:
    """The search stage's figures of the run `source`; UserError unless it has finished."""
    done = read_json(source / "stages.json").get("search")
    if done is None:
        raise UserError(f"--search-from {source}: its search has not finished; finish it with --resume first")
    return done


def run_select(c: Context, figures: dict[str, Any]) -> None:
    """scores -> plan.json."""
    _, space, card = load_model(c.folder / "searched")
    scores = load_scores(c.folder / "scores.safetensors")
    _check_scores(scores, space)
    operators = space.operators(card.input_size)
    plan = select(scores, operators, c.budget, c.recipe.select, space=space.name)
    plan.save(c.folder / "plan.json")
    figures["pruned_ratio"] = plan.record["pruned_ratio"]


def run_slice(c: Context, figures: dict[str, Any]) -> None:
    """searched + plan -> sliced."""
    network, space, _ = load_model(c.folder / "searched")
    plan = WidthPlan.load(c.folder / "plan.json")
    small, small_space = slice_model(network, space, plan)
    figures.update(c.evaluate(small))
    save_model(c.folder / "sliced", small, c.card(small_space, sha256(c.folder / "plan.json")))


def run_finetune(c: Context, figures: dict[str, Any]) -> None:
    """sliced (+ baseline as teacher) -> model."""
    network, _, card = load_model(c.folder / "sliced")
    config, job = c.recipe.finetune, c.job("finetune")
    teacher = load_model(c.folder / "baseline")[0] if config.distill is not None else None
    train(network, c.data.train, config, job, evaluate=c.evaluate, teacher=teacher)
    figures.update(c.evaluate(network))
    save_model(c.folder / "model", network.cpu(), card)


def run_export(c: Context, figures: dict[str, Any]) -> None:
    """baseline, model -> baseline.onnx, model.onnx, parity.json."""
    from json import dumps

    config = c.recipe.export
    n_images = min(config.parity_images, len(c.data.test))
    # Evenly over the split, which may be sorted by class.
    images = c.data.test.subset([i * len(c.data.test) // n_images for i in range(n_images)])
    parity: dict[str, Any] = {"tolerance": config.tolerance, "opset": config.opset}
    for name in ("baseline", "model"):
        network, _, card = load_model(c.folder / name)
        metadata = {
            "classes": dumps(card.classes),
            "preprocessing": dumps(card.preprocessing),
            "space": card.space,
            "arch": dumps(card.arch),
            "plan_sha256": card.plan_sha256 or "",
        }
        file = c.folder / f"{name}.onnx"
        export_onnx(network, file, input_size=card.input_size, opset=config.opset, metadata=metadata)
        batches = eval_loader(images, batch_size=EVAL_BATCH)
        parity[name] = compare_with_onnx(network, file, batches, tolerance=config.tolerance)
    write_json(c.folder / "parity.json", parity)


def run_measure(c: Context, figures: dict[str, Any]) -> None:
    """baseline, model and their .onnx -> latency.json."""
    before, _, card = load_model(c.folder / "baseline")
    after, _, _ = load_model(c.folder / "model")
    latency = measure_latency(
        before,
        after,
        c.folder / "baseline.onnx",
        c.folder / "model.onnx",
        input_size=card.input_size,
        config=c.recipe.measure,
    )
    write_json(c.folder / "latency.json", latency)


def run_report(c: Context, figures: dict[str, Any]) -> None:
    """Everything -> summary.json, report.html."""
    from ..report import write_report

    write_summary(c.folder, c.recipe, c.data)
    write_report(c.folder.path)


STAGES: dict[str, Callable[[Context, dict[str, Any]], None]] = {
    "load": load,
    "search": run_search,
    "select": run_select,
    "slice": run_slice,
    "finetune": run_finetune,
    "export": run_export,
    "measure": run_measure,
    "report": run_report,
}
"""Stage name -> function, in order."""


def _check_scores(scores: dict[str, Any], space: Space) -> None:
    expected = sizes(space.groups)
    found = {name: len(score) for name, score in scores.items()}
    if found != expected:
        odd = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise UserError(f"scores.safetensors: not this network's scores; groups differ: {', '.join(odd[:5])}")
