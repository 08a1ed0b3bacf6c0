"""The last stages of a detector's run: whole-detector ONNX files, their latency, and what the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.device import get_device
from torch.nn import functional as F

from ..export import onnx_session
from ..export.forms import orientation
from ..measure.latency import compare_calls, latency_record
from ..measure.layers import add_layers
from ..pipeline.deploying import DEPLOYING as OF_IMAGES
from ..pipeline.deploying import REPORT
from ..pipeline.stage import Figures, Stage
from ..pipeline.stages import BASELINE, MODEL
from ..plan import UserError, write_json
from ..spaces import load_model
from .export import compare_detections, export_detector, forms
from .pictures import write_categories, write_predictions
from .sizes import inside, padded_size

if TYPE_CHECKING:
    from .run import DetectionContext

PLUGIN_FREE = "model_plugin_free"
"""Stem of the file that TensorRT builds without plugins."""

PARITY_IMAGES = 24
"""At most; an image takes a second of a full detector."""

UNMATCHED_SHARE = 0.02
"""Of all detections, those that rounding may decide the other way: `parity.json` says how many there were."""


def export_detectors(c: DetectionContext, figures: Figures) -> None:
    """baseline, model -> baseline.onnx, model.onnx, model_plugin_free.onnx, parity.json.

    Unless `data.input_size` is square, each of the last two has another beside it for images of the other orientation.
    """
    if _left_out(c, figures):
        return
    config, size = c.recipe.export, c.recipe.data.input_size
    parity: dict[str, Any] = {"opset": config.opset}
    written: dict[str, list[int]] = {}
    files = {"baseline": ("baseline", "onnxruntime"), "model": ("model", "onnxruntime")}
    for name, (source, form) in {**files, PLUGIN_FREE: ("model", "plugin-free")}.items():
        network, _, card = load_model(c.folder / source)
        options = {**forms.metadata_of(card), "form": form, "opset": config.opset}
        file = c.folder / f"{name}.onnx"
        if name == "baseline":  # for comparison alone
            made = {export_detector(network, file, input_size=(3, *size), **options): size}
        else:
            made = forms.export_forms(network, file, input_size=size, **options)
        for each, taken in made.items():
            images = fitting(c.data.test, taken, min(config.parity_images, PARITY_IMAGES))
            parity[each.stem] = compare_detections(network, each, images, unmatched_share=UNMATCHED_SHARE)
            parity[each.stem]["max_abs_diff"] = parity[each.stem]["max_score_diff"]
            if not parity[each.stem]["n_detections"]:
                c.progress.note(f"{each.name}: PyTorch finds no object in these images, so that nothing was compared")
            written[each.name] = list(taken)
    figures["files"] = written
    c.progress.note("; ".join(f"{name} takes {h} x {w}" for name, (h, w) in written.items()))
    write_json(c.folder / "parity.json", parity)


def _left_out(c: DetectionContext, figures: Figures) -> bool:
    """Whether the run's detector is not exported, which is noted and recorded."""
    if c.unexported:
        c.progress.note(f"left out: {c.unexported}")
        figures["left_out"] = c.unexported
    return bool(c.unexported)


def fitting(dataset: Any, size: tuple[int, int], n: int) -> list[Any]:
    """Up to `n` images of a `dataset` in test mode, in a fixed random order, for a file that takes `size` (h, w).

    They lie or stand as the file's do. Where there is none of this kind, others are turned by their diagonal.
    """
    chosen, others = places(dataset, size, n)
    if found := chosen or others:
        return [shown_to(dataset, size, i) for i in found]
    raise UserError(
        f"recipe: data.input_size = {size}: every validation image file is larger after the config's test pipeline "
        "than its annotations say; correct height and width there"
    )


def places(
    dataset: Any, size: tuple[int, int], n: int, *, seed: int = 0, most: int | None = None
) -> tuple[list[int], list[int]]:
    """Which images of a `dataset` fit into a file that takes `size` (h, w): as they are, and turned by their diagonal.

    Up to `n` of each kind, in the random order of `seed`; at most `most` images are looked at, and none after the
    first kind is complete.
    """
    chosen: list[int] = []
    others: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(dataset))[:most].tolist():
        shown = dataset[i]["inputs"].shape[1:]
        if _fits(shown, size):
            chosen.append(i)
        elif len(others) < n and inside(shown[::-1], size):
            others.append(i)
        if len(chosen) >= n:
            break
    return chosen, others


def _fits(shown: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether an image `shown` with so many rows and columns fits `size` as it is, and stands or lies as that does."""
    return inside(shown, size) and (orientation(shown) == orientation(size) or size[0] == size[1])


def shown_to(dataset: Any, size: tuple[int, int], i: int) -> dict[str, Any]:
    """Image `i` of a `dataset` for a file that takes `size`: turned unless it fits as it is (`places`)."""
    sample = dataset[i]
    return sample if _fits(sample["inputs"].shape[1:], size) else _turned(sample)


def _turned(sample: dict[str, Any]) -> dict[str, Any]:
    """`sample` with rows in place of columns."""
    described = sample["data_samples"].clone()
    sides = {key: getattr(described, key)[::-1] for key in ("img_shape", "ori_shape", "scale_factor")}
    described.set_metainfo(sides)
    return {"inputs": sample["inputs"].transpose(1, 2), "data_samples": described}


def measure_detectors(c: DetectionContext, figures: Figures) -> None:
    """baseline.onnx, model.onnx -> latency.json: whole detectors on one validation image."""
    if _left_out(c, figures):
        return
    config, size = c.recipe.measure, (3, *c.recipe.data.input_size)
    (image,) = fitting(c.data.test, c.recipe.data.input_size, 1)
    (before, space, _), (after, small_space, _) = (load_model(c.folder / name) for name in ("baseline", "model"))
    feed = detector_feed(after, image, size[1:])
    pair = {
        side: partial(onnx_session(c.folder / file, threads=config.threads).run, None, feed)
        for side, file in (("before", "baseline.onnx"), ("after", "model.onnx"))
    }
    record = latency_record(lambda: {"onnxruntime": compare_calls(pair, config)}, input_size=size, config=config)
    add_layers(record, (before, space), (after, small_space), input_size=size, config=config)
    write_json(c.folder / "latency.json", record)


def detector_feed(network: Any, sample: dict[str, Any], size: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    """What an exported detector of `size` (height, width; None: any) takes for one `sample` of MMDetection's test
    pipeline."""
    with torch.no_grad():
        data = network.data_preprocessor({key: [sample[key]] for key in ("inputs", "data_samples")})
    height, width = data["data_samples"][0].img_shape
    image = data["inputs"][:, :, :height, :width]
    size = size or padded_size(height, width)
    padded = F.pad(image, (0, size[1] - width, 0, size[0] - height), value=float(network.data_preprocessor.pad_value))
    return {"images": padded.numpy(), "image_size": np.array([[height, width]], np.float32)}


def report_detectors(c: DetectionContext, figures: Figures) -> None:
    """baseline, model -> predictions/, predictions.json; what load and finetune recorded -> categories.json; then as
    for every run."""
    before, after = (load_model(c.folder / name)[0].to(get_device()) for name in ("baseline", "model"))
    training = c.data.train_evaluation if c.recipe.data.evaluate_train else None
    write_predictions(c.folder.path, before, after, c.data.test, training=training)
    done = [c.folder.stages[stage].get("per_category") for stage in ("load", "finetune")]
    old, new = (own or c.evaluate(net)["per_category"] for own, net in zip(done, (before, after), strict=True))
    write_categories(c.folder.path, old, new, c.data.test)
    REPORT.run(c, figures)


_EXPORT, _MEASURE, _ = OF_IMAGES

DEPLOYING: tuple[Stage[DetectionContext], ...] = (
    Stage("export", export_detectors, _EXPORT.reads, (*_EXPORT.writes, f"{PLUGIN_FREE}.onnx")),
    Stage("measure", measure_detectors, _MEASURE.reads, _MEASURE.writes),
    Stage(
        "report",
        report_detectors,
        (BASELINE, MODEL, *REPORT.reads),
        (*REPORT.writes, "predictions.json", "categories.json"),
    ),
)
"""What follows when a detector has been pruned and fine-tuned."""
