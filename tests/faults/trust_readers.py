"""How the tools read each kind of file that a run leaves, and what must not come of it, whatever it says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from campaign import obeys, spread, tally
from latency_tables import made_up_table
from safetensors.numpy import load_file, save_file
from trust_cases import SECRET, TAG, payloads, with_additions, with_payloads

import compress
from compress.costs import LatencyTable
from compress.export.onnx_read import read_onnx
from compress.export.tensorrt import load_engine_card
from compress.measure.models import open_model
from compress.pipeline.recorded import recorded_recipe
from compress.plan import UserError, WidthPlan, load_scores, sha256
from compress.report import write_report
from compress.spaces import PreResNetSpace, SwinSpace, VitSpace, make_space

REPORTED = (
    "summary.json", "recipe.json", "stages.json", "plan.json", "complexity.json", "parity.json", "latency.json",
    "predictions.json", "categories.json",
)  # fmt: skip
PREPROCESSING = {"input_size": [3, 32, 32], "resize": None, "interpolation": "bilinear", "mean": [0.5] * 3}
PREPROCESSING |= {"std": [0.25] * 3}
SIDES = ("before", "after")
Writes = Callable[[Path], object]
PREDICTIONS = {
    "format": 1,
    "threshold": 0.3,
    "iou": 0.5,
    "images": [
        {
            "image": "a.jpg", "training": False, "objects": 2, "coincide": 1,
            **{side: {"file": f"predictions/a_{side}.jpg", "detections": 2, "correct": 1} for side in SIDES},
        }
    ],
}  # fmt: skip
CATEGORIES = {
    "format": 1,
    "images": 4,
    "categories": [{"name": "cat", "objects": 2, "bbox_mAP": {"before": 50.0, "after": 40.0}}],
}
SWIN = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": [1], "num_heads": [1]}


class Tags(HTMLParser):
    """The elements and attributes of a page in which the mark stands."""

    def __init__(self) -> None:
        super().__init__()
        self.marked: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "script" or any(name.startswith("on") for name, _ in attributes):
            self.marked.append(tag)


def check(kind: str, cases: Iterator[Any], read: Callable[[Any], Any], most: int | None) -> None:
    """Every case, or `most` of them, is refused in a line or read; of either nothing comes."""
    chosen = list(cases)
    chosen = chosen if most is None else spread(chosen, most)
    assert chosen
    survived = 0
    try:
        for case in chosen:
            obeys(lambda case=case: read(case))
            survived += 1
    finally:
        tally(f"trust: {kind}", len(chosen), survived)


def check_page(page: Path) -> None:
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.marked == []
    assert TAG not in text
    assert SECRET.decode()[:40] not in text
    assert base64.b64encode(SECRET).decode()[:40] not in text


def reports(
    run: Path, secret: Path, most: int | None, *, names: Sequence[str] = REPORTED, write: Writes = write_report
) -> None:
    for name in names:
        before = (run / name).read_text()

        def read(case: Any, name: str = name) -> None:
            (run / "report.html").unlink(missing_ok=True)
            (run / name).write_text(json.dumps(case))
            try:
                write(run)
            except UserError:
                assert not (run / "report.html").exists()
                raise
            check_page(run / "report.html")

        check(name, with_payloads(json.loads(before), secret), read, most)
        (run / name).write_text(before)


def metrics(run: Path, secret: Path, most: int | None, *, write: Writes = write_report) -> None:
    file = run / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]

    def read(case: Any) -> None:
        file.write_text("".join(f"{json.dumps(line)}\n" for line in case))
        write(run)
        check_page(run / "report.html")

    check("metrics.jsonl", with_payloads(lines, secret), read, most)


def cards(folder: Path, secret: Path, most: int | None, *, added: bool = False) -> None:
    file = folder / "model.json"
    before = file.read_text()
    value = json.loads(before)

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        compress.load(folder)

    try:
        check(f"{value['space']} card", with_payloads(value, secret), read, most)
        if added:
            check(f"{value['space']} card, keys added", with_additions(value, secret), read, most)
    finally:
        file.write_text(before)


def recipes(run: Path, secret: Path, most: int | None) -> None:
    file = run / "recipe.json"
    value = json.loads(file.read_text())

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        recorded_recipe(run, remedy="give --recipe RECIPE")

    check("recipe.json as a recipe", with_payloads(value, secret), read, most)
    check("recipe.json, keys added", with_additions(value, secret), read, most)


def plans(run: Path, secret: Path, most: int | None) -> None:
    file = run / "plan.json"

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        WidthPlan.load(file)

    check("plan.json as a plan", with_payloads(json.loads(file.read_text()), secret), read, most)


def tables(folder: Path, secret: Path, most: int | None) -> None:
    file = folder / "table.json"
    made_up_table(PreResNetSpace(depth=11, num_classes=10), (3, 32, 32)).save(file)

    def read(case: Any) -> None:
        file.write_text(json.dumps(case))
        LatencyTable.load(file)

    check("latency table", with_payloads(json.loads(file.read_text()), secret), read, most)


LOADS: dict[str, Callable[[Path], object]] = {"scores": load_scores, "model": lambda file: compress.load(file.parent)}


def tensors(
    run: Path, secret: Path, most: int | None, *, loads: Mapping[str, Callable[[Path], object]] = LOADS
) -> None:
    """Names of tensors and the metadata of safetensors files."""
    for name, load in loads.items():
        file = run / f"{name}.safetensors"
        values = load_file(file)
        first = next(iter(values))
        others = {key: value for key, value in values.items() if key != first}
        cases = [(payload, part) for payload in map(str, payloads(secret)) for part in ("name", "metadata")]

        def read(case: tuple[str, str], file: Path = file, load: Any = load, others: Any = others) -> None:
            payload, part = case
            named = {payload: np.zeros(3, np.float32)} if part == "name" else {}
            save_file({**others, **named}, file, metadata={payload: payload} if part == "metadata" else None)
            load(file)

        check(file.name, iter(cases), read, most)
        save_file(values, file)


def onnx_files(run: Path, secret: Path, most: int | None) -> None:
    """Metadata, and where the weights are said to lie."""
    file = run / "model.onnx"
    proto = onnx.load(str(file))
    value = {entry.key: entry.value for entry in proto.metadata_props}
    inner = {key: json.loads(value[key]) for key in ("classes", "preprocessing", "arch")}

    def describe(case: dict[str, Any]) -> None:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        del changed.metadata_props[:]
        onnx.helper.set_model_props(
            changed, {key: text if isinstance(text, str) else json.dumps(text) for key, text in case.items()}
        )
        file.write_bytes(changed.SerializeToString())
        open_model(file).described()

    def locate(place: str) -> None:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        tensor = changed.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        file.write_bytes(changed.SerializeToString())
        with pytest.raises(UserError):
            read_onnx(file, weights=True)

    check("ONNX metadata", with_payloads({**value, **inner}, secret), describe, most)
    check("ONNX weights elsewhere", iter([f"../{secret.name}", str(secret)]), locate, None)
    link = run / "weights.bin"
    link.symlink_to(secret)
    check("ONNX weights by a link", iter(["weights.bin"]), locate, None)


def engine_cards(folder: Path, secret: Path, most: int | None) -> None:
    engine = folder / "m.engine"
    engine.write_bytes(b"plan")
    tensor = {"dtype": "float32", "shape": [-1, 3, 2, 2]}
    card = {
        "format": 1, "backend": "tensorrt", "version": "10.13.2", "compute_capabilities": ["8.6"],
        "device": {"name": "NVIDIA A10", "compute_capability": "8.6", "cuda": "13.0"},
        "inputs": [{**tensor, "name": "images"}], "outputs": [{**tensor, "name": "logits"}],
        "profile": {"images": {"min": [1, 3, 2, 2], "opt": [1, 3, 2, 2], "max": [4, 3, 2, 2]}},
        "precision": "float32", "flags": {"version_compatible": False, "hardware_compatible": False},
        "onnx": {"file": "m.onnx", "sha256": "0"}, "metadata": {"classes": "[]"}, "engine_sha256": sha256(engine),
        "date": "2026-11-24T00:00:00+00:00",
    }  # fmt: skip

    def read(case: Any) -> None:
        (folder / "m.engine.json").write_text(json.dumps(case))
        load_engine_card(engine)

    check("engine card", with_payloads(card, secret), read, most)


def spaces(folder: Path, secret: Path, most: int | None) -> None:
    """Transformers' arguments, which timm gets."""
    vit = {"depth": 1, "act_layer": "gelu"}
    for space in (
        SwinSpace(2, "swin_tiny_patch4_window7_224", input_size=32, options=SWIN),
        VitSpace(2, "vit_tiny_patch16_224", input_size=32, options=vit),
    ):
        name = space.name
        make_space(name, space.arch).empty()
        for kind, cases in (("texts", with_payloads), ("keys added", with_additions)):
            check(
                f"{name} arguments, {kind}",
                cases(space.arch, secret),
                lambda arch, name=name: make_space(name, arch).empty(),
                most,
            )
