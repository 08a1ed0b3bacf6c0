"""The last stages of a classifier's run: ONNX files that answer as PyTorch does, their latency, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.loaders import eval_loader
from ..export import compare_with_onnx, export_onnx
from ..export.convert import onnx_metadata
from ..measure import measure_latency
from ..measure.layers import add_layers
from ..plan import write_json
from ..spaces import load_model
from .stage import Figures, Stage
from .stages import BASELINE, MODEL, PLAN

if TYPE_CHECKING:
    from .images import ImageContext
    from .networks import NetworkContext

EVAL_BATCH = 250

ONNX = ("baseline.onnx", "model.onnx")


def export(c: ImageContext, figures: Figures) -> None:
    """baseline, model -> baseline.onnx, model.onnx, parity.json."""
    config = c.recipe.export
    n_images = min(config.parity_images, len(c.data.test))
    # Evenly over the split, which may be sorted by class.
    images = c.data.test.subset([i * len(c.data.test) // n_images for i in range(n_images)])
    parity: Figures = {"tolerance": config.tolerance, "opset": config.opset}
    for name in ("baseline", "model"):
        network, _, card = load_model(c.folder / name)
        metadata = onnx_metadata(card)
        file = c.folder / f"{name}.onnx"
        export_onnx(network, file, input_size=card.input_size, opset=config.opset, metadata=metadata)
        batches = eval_loader(images, batch_size=EVAL_BATCH)
        parity[name] = compare_with_onnx(network, file, batches, tolerance=config.tolerance)
    write_json(c.folder / "parity.json", parity)


def measure(c: ImageContext, figures: Figures) -> None:
    """baseline, model and their .onnx -> latency.json."""
    before, space, card = load_model(c.folder / "baseline")
    after, small_space, _ = load_model(c.folder / "model")
    config = c.recipe.measure
    latency = measure_latency(
        before,
        after,
        c.folder / "baseline.onnx",
        c.folder / "model.onnx",
        input_size=card.input_size,
        config=config,
    )
    add_layers(latency, (before, space), (after, small_space), input_size=card.input_size, config=config)
    write_json(c.folder / "latency.json", latency)


def report(c: NetworkContext, figures: Figures) -> None:
    """Everything -> summary.json, report.html."""
    from ..report import write_report

    write_json(c.folder / "summary.json", c.summary())
    write_report(c.folder.path)


REPORT = Stage(
    "report", report, (PLAN, "complexity.json", "parity.json", "latency.json"), ("summary.json", "report.html")
)

DEPLOYING: tuple[Stage[ImageContext], ...] = (
    Stage("export", export, (BASELINE, MODEL), (*ONNX, "parity.json")),
    Stage("measure", measure, (BASELINE, MODEL, *ONNX), ("latency.json",)),
    REPORT,
)
