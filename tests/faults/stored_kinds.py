"""Every kind of stored JSON file, whole, with the readers that stages and tools have of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kit_kinds import kept_totals, manifest, measured, read_manifest, read_measured, read_totals
from latency_tables import made_up_table
from made_up_front import asked, made_up

from compress.costs import LatencyTable
from compress.costs.stairs import chosen_stairs, table_stairs
from compress.export.tensorrt import load_engine_card
from compress.export.tensorrt.card import check_fits
from compress.measure.kept import merged, pack, resumed
from compress.measure.profiling import Profile
from compress.pipeline.folder import RunFolder
from compress.pipeline.summary import pruning_summary
from compress.plan import UserError, WidthPlan, write_json
from compress.pruning import Budget, Priced, SelectConfig, plan_for
from compress.report import print_summary, write_report, write_table_report
from compress.report.front import write_front_report
from compress.spaces import PreResNetSpace, SwinSpace, VitSpace, load_card, load_model, make_space, sizes

SIZE = (3, 32, 32)
SPACE = PreResNetSpace(11, 10)
TIMES = {"median": 1.0, "p10": 0.9, "p90": 1.1, "n": 200}
PREDICTED = {"backend": "onnxruntime", "device": "CPU", "ratio": 0.49, "correction": 1.08}
PREDICTED |= {"residual": {"median": 0.012, "p90": 0.03, "rank_correlation": 0.99, "n": 20}}
PREDICTED |= {"path": [{"correction": c, "predicted": 0.5, "measured": 0.54} for c in (1.0, 1.08)]}


@dataclass(frozen=True)
class Kind:
    """A file inside a folder and what reads it there; `value`: what it holds when nothing is wrong."""

    file: Path
    value: Any
    read: Callable[[], object]

    def write(self, value: Any) -> None:
        """Put `value` in the file's place, as JSON."""
        lines = self.file.suffix == ".jsonl"
        self.file.write_text("".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value))


def stored_kinds(finished: Path, folder: Path) -> dict[str, Kind]:
    """All kinds, in copies of the run `finished` under `folder`."""
    run = folder / "run"
    shutil.copytree(finished, run)
    _become_richer(run)
    write_report(run)
    found = {}
    for name in ("recipe", "stages", "plan", "complexity", "parity", "latency", "summary", "predictions", "categories"):
        found[name] = Kind(run / f"{name}.json", json.loads((run / f"{name}.json").read_text()), _reading(run, name))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][:2]
    found["metrics"] = Kind(run / "metrics.jsonl", [*rows, {**rows[1], "stage": "finetune"}], _reading(run, "metrics"))
    card = json.loads((run / "model.json").read_text())
    found["card"] = Kind(run / "model.json", card, lambda: load_model(run))
    front = folder / "front.json"
    goal = asked("max_drop", 1.0, 94.0, "macs_ratio_0.8")
    found["front"] = Kind(front, made_up(goal), lambda: write_front_report(folder))
    return found | _transformer_cards(folder, card) | _tables(folder) | _kits(folder) | _engine(folder)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Refusals of what was read from `file`, which do not know where it came from, name it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _become_richer(run: Path) -> None:
    """What only runs with latency tables, and only detectors, have as well."""
    budget = {"kind": "latency_ms", "value": 5.0, "also": [{"kind": "macs_ratio", "value": 0.5}]}
    plan, summary = (json.loads((run / f"{name}.json").read_text()) for name in ("plan", "summary"))
    widths = {name: len(group["kept"]) for name, group in plan["groups"].items()}
    latency = {**PREDICTED, "ms": 4.9, "unpruned_ms": 10.0, "threads": 1, "batch": 1}
    plan |= {"budget": budget, "latency": latency, "stairs": chosen_stairs(made_up_table(SPACE, SIZE), widths)}
    plan |= {"kinds": dict.fromkeys(plan["groups"], "channels")}
    summary |= {"budget": budget, "prediction": PREDICTED, "predicted_latency_ms": {"before": 10.0, "after": 4.9}}
    summary |= {name: {"before": 43.0, "after": 42.0} for name in ("bbox_mAP", "segm_mAP", "train_bbox_mAP")}
    side = {"file": "predictions/a.jpg", "detections": 9, "correct": 8}
    image = {"image": "a.jpg", "training": False, "objects": 20, "before": side, "after": side, "coincide": 7}
    pair = {"before": 50.0, "after": 49.0}
    row = {"name": "cat", "objects": 3, "bbox_mAP": pair, "segm_mAP": pair}
    none = {"name": "dog", "objects": 0, "bbox_mAP": {"before": None, "after": None}, "segm_mAP": pair}
    files = {
        "plan": plan,
        "summary": summary,
        "predictions": {"format": 1, "threshold": 0.3, "iou": 0.5, "images": [image]},
        "categories": {"format": 1, "images": 9, "categories": [row, none]},
    }
    for name, value in files.items():
        (run / f"{name}.json").write_text(json.dumps(value))


def _reading(run: Path, name: str) -> Callable[[], object]:
    """Every reader that a run has of one of its files."""
    recipe = SimpleNamespace(finetune=SimpleNamespace(distill=None))
    data = SimpleNamespace(name="digits", evaluated_on="test")

    def read() -> None:
        if name == "recipe":
            record = RunFolder.recorded(run) or {}
            Budget.from_json(record["budget"])
            assert record["checkpoint"]["path"] is not None
        if name in ("stages", "plan", "parity", "latency"):
            pruning_summary(SimpleNamespace(folder=RunFolder(run), recipe=recipe, data=data, full_space=SPACE), {})
        if name == "plan":
            WidthPlan.load(run / "plan.json").check_fits(sizes(SPACE.groups))
        page = write_report(run).read_text()
        assert "nan" not in page.lower().replace("finance", "")
        if name == "summary":
            print_summary(json.loads((run / "summary.json").read_text()), _console())

    return read


def _console() -> Any:
    from rich.console import Console

    return Console(quiet=True)


def _transformer_cards(folder: Path, card: dict[str, Any]) -> dict[str, Kind]:
    """Cards of spaces whose networks a library builds; the weights are not there, so the space is built alone."""
    spaces = {
        "swin": SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=32, options={"window_size": 4, "depths": [1]}),
        "vit": VitSpace(10, "deit_tiny_patch16_224", input_size=32, options={"depth": 1, "patch_size": 8}),
    }
    arches = {name: space.with_widths({space.groups[0].name: 8}).arch for name, space in spaces.items()}
    arches["mobilenetv2"] = make_space("mobilenetv2", {"num_classes": 10, "multiplier": 0.35}).arch
    return card_kinds(folder, card, arches)


def card_kinds(folder: Path, card: dict[str, Any], arches: dict[str, dict[str, Any]]) -> dict[str, Kind]:
    """`card` with the spaces {name: arguments}; the weights are not there, so the space is built alone."""
    found = {}
    for name, arch in arches.items():
        file = folder / f"{name}.json"

        def read(file: Path = file) -> None:
            known = load_card(file)
            with naming(file):  # as load_model does, which wants weights as well
                make_space(known.space, known.arch).operators(known.input_size)

        found[f"card of {name}"] = Kind(file, {**card, "space": name, "arch": arch}, read)
    return found


def _tables(folder: Path) -> dict[str, Kind]:
    """A latency table with its networks, and the profiles of a stopped measurement."""
    table = made_up_table(SPACE, SIZE, multiple=16)
    own = sizes(SPACE.groups)
    names = list(table.operators)
    share = dict.fromkeys(names, 1 / len(names))
    half = {name: size // 2 for name, size in own.items()}
    nodes = dict.fromkeys(names, 1)
    profiles = [Profile(at, own, share, share, nodes, nodes, 0.5 + 0.5 * (at is own), 9.0, 1.0) for at in (own, half)]
    key = {**table.key, "backend": "onnxruntime", "batch": 1, "threads": 1, "dtype": "float32"}
    settings = {"multiple": 16, "rounds": 20, "sources": 1}
    record = {
        "date": "today",
        "measured_with": {"torch": "2"},
        "residual": PREDICTED["residual"],
        "reference_ms": [1.0, 1.1],
        "designs": [{"widths": own, "ratio": 0.5, "held_out": 0.51}, {"widths": half, "ratio": 0.6, "held_out": 0.6}],
        **settings,
        "profiles": pack(profiles),
    }
    file = folder / "table.json"
    LatencyTable(key, 10.0, table.widths, table.operators, table.rest, record).save(file)
    kept = {"format": 1, "key": key, **settings, "profiles": pack(profiles)}
    kept_file = folder / "kept.json"
    import torch

    scores = {name: torch.ones(size) for name, size in own.items()}

    def read_table() -> None:
        found = LatencyTable.load(file)
        found.check_space(SPACE, SIZE)
        assert found.predict(SPACE.operators(SIZE), {n: grid[-1] for n, grid in found.widths.items()}).ratio > 0
        write_table_report(file, table_stairs(found))
        budget = Budget("latency_ratio", 0.9)
        with naming(file):
            plan_for(SPACE, scores, budget, SelectConfig(), input_size=SIZE, priced=Priced(found))

    def read_kept() -> None:
        merged([kept_file])
        resumed(kept_file, {"format": 1, "key": key, **settings}, [own, half])

    return {
        "table": Kind(file, json.loads(file.read_text()), read_table),
        "kept profiles": Kind(kept_file, kept, read_kept),
    }


def _kits(folder: Path) -> dict[str, Kind]:
    """What a device sends back, the manifest beside it, and whole calls that a stopped measurement kept."""
    lone, pair, kept = (folder / name for name in ("lone/measured.json", "pair/manifest.json", "kept/whole.json"))
    write_json(lone.with_name("manifest.json"), manifest())
    times = measured(lone.with_name("manifest.json"))
    for file in (pair, kept):
        file.parent.mkdir()
    return {
        "measured kit": Kind(lone, times, lambda: read_measured(lone)),
        "manifest of a kit": Kind(pair, manifest(), lambda: read_manifest(pair)),
        "kept totals": Kind(kept, kept_totals(), lambda: read_totals(kept)),
    }


def _engine(folder: Path) -> dict[str, Kind]:
    engine = folder / "m.engine"
    engine.write_bytes(b"an engine")
    device = {"name": "NVIDIA A10", "compute_capability": "8.6"}
    tensor = {"name": "images", "dtype": "float32", "shape": [-1, *SIZE]}
    card = {
        "format": 1, "backend": "tensorrt", "version": "10.13.2", "device": device, "compute_capabilities": [],
        "inputs": [tensor], "outputs": [{**tensor, "name": "logits", "shape": [-1, 10]}],
        "profile": {"images": {side: [1, *SIZE] for side in ("min", "opt", "max")}},
        "precision": "float32",
        "flags": {"strongly_typed": True, "hardware_compatible": False, "version_compatible": False},
        "engine_sha256": hashlib.sha256(b"an engine").hexdigest(),
        "metadata": {"space": "preresnet"},
    }  # fmt: skip
    file = folder / "m.engine.json"

    def read() -> None:
        found = load_engine_card(engine)
        check_fits(engine, found, "10.13.2", device)

    return {"engine card": Kind(file, card, read)}
