"""The last stages of a detector's run: whole-detector ONNX files, their latency, and what the report shows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.device import get_device
from torch.nn import functional as F

from ..export import onnx_session
from ..export.convert import onnx_metadata
from ..measure.latency import compare_calls, latency_record
from ..measure.layers import add_layers
from ..pipeline.deploying import DEPLOYING as OF_IMAGES
from ..pipeline.deploying import REPORT
from ..pipeline.stage import Figures, Stage
from ..pipeline.stages import BASELINE, MODEL
from ..plan import UserError, write_json
from ..spaces import load_model
from .export import compare_detections, export_detector
from .pictures import write_categories, write_predictions

if TYPE_CHECKING:
    from .run import DetectionContext

PLUGIN_FREE = "model_plugin_free"
"""Stem of the file that TensorRT builds without plugins."""

PARITY_IMAGES = 24
"""At most; an image takes a second of a full detector."""

UNMATCHED_SHARE = 0.02
"""Of all detections, those that rounding may decide the other way: `parity.json` says how many there were."""


def export_detectors(c: DetectionContext, figures: Figures) -> None:
    """baseline, model -> baseline.onnx, model.onnx, model_plugin_free.onnx, parity.json."""
    if _left_out(c, figures):
        return
    config, size = c.recipe.export, (3, *c.recipe.data.input_size)
    images, seen = fitting(c.data.test, size[1:], min(config.parity_images, PARITY_IMAGES))
    figures["fitting"] = {"images": len(images), "of": seen}
    c.progress.note(f"data.input_size {size[1:]}: {len(images)} of {seen} validation images are not larger")
    parity: dict[str, Any] = {"opset": config.opset}
    files = {"baseline": ("baseline", "onnxruntime"), "model": ("model", "onnxruntime")}
    for name, (source, form) in {**files, PLUGIN_FREE: ("model", "plugin-free")}.items():
        network, _, card = load_model(c.folder / source)
        metadata = onnx_metadata(card)
        del metadata["preprocessing"]  # the exporter's own tells of padding too
        file = c.folder / f"{name}.onnx"
        export_detector(network, file, input_size=size, form=form, opset=config.opset, metadata=metadata)
        parity[name] = compare_detections(network, file, images, unmatched_share=UNMATCHED_SHARE)
        parity[name]["max_abs_diff"] = parity[name]["max_score_diff"]
        if not parity[name]["n_detections"]:
            c.progress.note(f"{name}.onnx: PyTorch finds no object in these images, so that nothing was compared")
    write_json(c.folder / "parity.json", parity)


def _left_out(c: DetectionContext, figures: Figures) -> bool:
    """Whether the run's detector is not exported, which is noted and recorded."""
    if c.unexported:
        c.progress.note(f"left out: {c.unexported}")
        figures["left_out"] = c.unexported
    return bool(c.unexported)


def fitting(dataset: Any, size: tuple[int, ...], n: int) -> tuple[list[Any], int]:
    """Up to `n` images of a `dataset` in test mode, in a fixed random order, that are not larger than `size` (h, w);
    and how many had to be looked at.

    Raises UserError when none is that small.
    """
    chosen: list[Any] = []
    seen = 0
    for i in np.random.default_rng(0).permutation(len(dataset)).tolist():
        sample, seen = dataset[i], seen + 1
        if all(side <= most for side, most in zip(sample["inputs"].shape[1:], size, strict=True)):
            chosen.append(sample)
        if len(chosen) >= n:
            break
    if not chosen:
        raise UserError(
            f"recipe: data.input_size = {size}: every validation image is larger after the config's test pipeline; "
            "raise it to the pipeline's scale, in multiples of 32"
        )
    return chosen, seen


def measure_detectors(c: DetectionContext, figures: Figures) -> None:
    """baseline.onnx, model.onnx -> latency.json: whole detectors on one validation image."""
    if _left_out(c, figures):
        return
    config, size = c.recipe.measure, (3, *c.recipe.data.input_size)
    (image,), _ = fitting(c.data.test, size[1:], 1)
    (before, space, _), (after, small_space, _) = (load_model(c.folder / name) for name in ("baseline", "model"))
    feed = detector_feed(after, image, size[1:])
    pair = {
        side: partial(onnx_session(c.folder / file, threads=config.threads).run, None, feed)
        for side, file in (("before", "baseline.onnx"), ("after", "model.onnx"))
    }
    record = latency_record(lambda: {"onnxruntime": compare_calls(pair, config)}, input_size=size, config=config)
    add_layers(record, (before, space), (after, small_space), input_size=size, config=config)
    write_json(c.folder / "latency.json", record)


def detector_feed(network: Any, sample: dict[str, Any], size: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What an exported detector of `size` (height, width) takes for one `sample` of MMDetection's test pipeline."""
    with torch.no_grad():
        data = network.data_preprocessor({key: [sample[key]] for key in ("inputs", "data_samples")})
    height, width = data["data_samples"][0].img_shape
    image = data["inputs"][:, :, :height, :width]
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
