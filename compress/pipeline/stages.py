"""The stages of a run. Each reads files of the run's folder, writes files there, and can start alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from ..costs import Costed, breakdown
from ..engine.loaders import eval_loader
from ..engine.searching import search
from ..export import compare_with_onnx, export_onnx
from ..export.convert import onnx_metadata
from ..measure import measure_latency
from ..plan import WidthPlan, load_scores, read_lines, replacing, save_scores, sha256, write_json, write_text
from ..plan.run_files import METRICS_REMEDY, MetricsLine
from ..pruning import slice_model
from ..spaces import load_model, sizes
from .checks import SEARCHED, check_scores, check_searched
from .context import EVAL_BATCH, Context
from .latency_budget import select_plan
from .summary import write_summary


def load(c: Context, figures: dict[str, Any]) -> None:
    """--checkpoint -> baseline.safetensors, baseline.json; its accuracy."""
    network, space = c.baseline
    figures.update(c.evaluate(network), **c.seen)
    c.save("baseline", network, c.card(space))


def run_search(c: Context, figures: dict[str, Any]) -> None:
    """baseline -> scores.safetensors, searched.safetensors; with --search-from these come from another run."""
    network, space, _ = load_model(c.folder / "baseline")
    if c.search_from is not None:
        return _copy_search(
            c, Path(c.search_from), check_searched(Path(c.search_from), c.recipe, network, space), figures
        )
    found = search(network, space, c.task, c.recipe.search, c.job("search"), evaluate=c.watch)
    figures.update(c.evaluate(found.network), info=found.info)
    if is_main_process():
        save_scores(c.folder / "scores.safetensors", found.scores)
    c.save("searched", found.network, c.card(space))


def _copy_search(c: Context, source: Path, done: dict[str, Any], figures: dict[str, Any]) -> None:
    c.progress.note(f"taken from {source}")
    figures.update({k: v for k, v in done.items() if k not in ("seconds", "finished")}, copied_from=str(source))
    for name in SEARCHED:
        with replacing(c.folder / name) as tmp:
            shutil.copyfile(source / name, tmp)
    metrics = source / "metrics.jsonl"  # scorers write none
    rows = read_lines(metrics, MetricsLine, remedy=METRICS_REMEDY) if metrics.exists() else []
    lines = [json.dumps(row) + "\n" for row in rows if row["stage"] == "search"]
    write_text(c.folder / "metrics.jsonl", "".join(lines))


def run_select(c: Context, figures: dict[str, Any]) -> None:
    """scores -> plan.json."""
    _, space, _ = load_model(c.folder / "searched")
    scores = load_scores(c.folder / "scores.safetensors")
    check_scores(scores, space, name=str(c.folder / "scores.safetensors"))
    plan = select_plan(c, space, scores)
    plan.save(c.folder / "plan.json")
    figures["pruned_ratio"] = plan.record["pruned_ratio"]
    if latency := plan.record.get("latency"):
        figures["latency"] = {key: latency[key] for key in ("ratio", "path") if key in latency}


def run_slice(c: Context, figures: dict[str, Any]) -> None:
    """searched + plan -> sliced, complexity.json."""
    network, space, card = load_model(c.folder / "searched")
    plan = WidthPlan.load(c.folder / "plan.json")
    small, small_space = slice_model(network, space, plan)
    figures.update(c.evaluate(small))
    if is_main_process():
        operators = space.operators(card.input_size)
        full = Costed(c.counted(network), operators, sizes(space.groups))
        sliced = Costed(c.counted(small), operators, plan.widths)
        if not all(plan.kept.values()):  # what is left of a removed block has costs of its own
            sliced = Costed(c.counted(small), small_space.operators(card.input_size), sizes(small_space.groups))
        costs = breakdown(full, sliced, groups=space.groups, input_size=card.input_size)
        write_json(c.folder / "complexity.json", costs)
    c.save("sliced", small, c.card(small_space, sha256(c.folder / "plan.json")))


def run_finetune(c: Context, figures: dict[str, Any]) -> None:
    """sliced (+ baseline as teacher) -> model."""
    network, _, card = load_model(c.folder / "sliced")
    config = c.recipe.finetune
    teacher = load_model(c.folder / "baseline")[0] if config.distill is not None else None
    c.train(network, config, "finetune", teacher=teacher)
    figures.update(c.evaluate(network))
    c.save("model", network, card)


def run_export(c: Context, figures: dict[str, Any]) -> None:
    """baseline, model -> baseline.onnx, model.onnx, parity.json."""
    config = c.recipe.export
    n_images = min(config.parity_images, len(c.data.test))
    # Evenly over the split, which may be sorted by class.
    images = c.data.test.subset([i * len(c.data.test) // n_images for i in range(n_images)])
    parity: dict[str, Any] = {"tolerance": config.tolerance, "opset": config.opset}
    for name in ("baseline", "model"):
        network, _, card = load_model(c.folder / name)
        metadata = onnx_metadata(card)
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
