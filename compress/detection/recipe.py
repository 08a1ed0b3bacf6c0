"""Recipes of detectors."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..measure import MeasureConfig
from ..pipeline.recipe import RECIPES, Recipe
from ..plan import UserError
from .data import DetectionData
from .space import DetectorSpace

TRAINING = ("train", "search", "finetune")
"""Sections of a recipe that train."""


@dataclass(frozen=True)
class DetectorMeasureConfig(MeasureConfig):
    """How the latency of detectors is measured: as `MeasureConfig` says, in ONNX Runtime.

    Args:
        backends: their names: ONNX Runtime alone.

    Raises UserError as `MeasureConfig` does.
    """

    backends: tuple[str, ...] = ("onnxruntime",)


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """A run on an MMDetection detector: `space` is {"type": "detector", "config": its config file}.

    Detectors are exported for one image, timed in ONNX Runtime, compared on at most 24 of `export.parity_images`, and
    trained by their config's losses. Raises UserError for settings that would need anything else.
    """

    data: DetectionData  # type: ignore[assignment]
    measure: DetectorMeasureConfig = field(default_factory=DetectorMeasureConfig)

    runs = ("space.config",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.measure.backends != ("onnxruntime",) or self.measure.batch != 1:
            raise UserError(
                f"measure.backends = {list(self.measure.backends)}, batch = {self.measure.batch}: detectors are "
                "exported for one image and timed in ONNX Runtime; set measure.backends to ['onnxruntime'] and batch "
                "to 1"
            )
        if self.finetune.distill is not None:
            raise UserError("finetune.distill: detectors are fine-tuned without a teacher; leave it away")
        for section in TRAINING:
            if smoothing := getattr(self, section).label_smoothing:
                raise UserError(
                    f"{section}.label_smoothing = {smoothing}: a detector's losses are its config's; leave it away"
                )

    def check_space(self) -> None:
        """UserError for a setting that a detector does not have: its config has them all."""
        if more := [key for key in self.space if key not in ("type", "config")]:
            raise UserError(f"space.{more[0]}: a detector has no such setting; it has type, config")


RECIPES[DetectorSpace.name] = DetectionRecipe
