"""MMDetection's detectors with a Swin backbone as a search space: the backbone's blocks are scored (thesis 4.4)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..plan import UserError, brief
from ..spaces import SPACES, Card, Group, Operator, WidthSpace
from ..spaces.arguments import check_ends, check_widths
from ..spaces.traced import bare_parameters, traced_operators
from .registered import checked, registered_only
from .swin import SlicedSwinTransformer, swin_dims, swin_groups

BACKBONE = "backbone"
FAMILY = ("SwinTransformer", "SlicedSwinTransformer")
EXAMPLE = "recipes/detection/mmdet/cascade_mask_rcnn_swin_t_coco.py"
FAULTS = (KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError, IndexError, RuntimeError)
"""What MMDetection raises for a model section that it cannot build."""


@dataclass(frozen=True)
class DetectorSpace(WidthSpace):
    """A detector of MMDetection, `model` being its config's model section as plain values.

    The section is data, a stranger's too (`registered.checked`): types are names of registered classes, weights that it
    would load are left out, and what names files is refused. Scored are the dimensions of heads and the MLPs' hidden
    units of its Swin backbone, as in `spaces.transformer`. `widths` holds the groups that differ from the original.
    Raises UserError for a section that is more than data, a model that MMDetection cannot build, another backbone, and
    widths out of range.

    Example::

        space = DetectorSpace(num_classes=80, model=Config.fromfile(path).model.to_dict())
        small, small_space = slice_model(space.build(), space, plan)
    """

    num_classes: int
    model: Mapping[str, Any]
    in_channels: int = 3
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "detector"
    timed_batch: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        check_ends(self.num_classes, self.in_channels)
        if not isinstance(self.model, Mapping):
            raise UserError(f"space.model = {brief(self.model)}: must be a config's model section; correct it")
        object.__setattr__(self, "model", json.loads(json.dumps(unpretrained(self.model))))
        full = {group.name: (1, group.size) for group in self.full_groups}
        check_widths(self.widths, full, network="the detector")

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned detector."""
        return _groups(json.dumps(self.model, sort_keys=True))

    @property
    def classifier(self) -> tuple[str, ...]:
        """Detectors keep their classes."""
        return ()

    def config(self) -> dict[str, Any]:
        """The model section at this space's widths: what MMDetection builds the network from."""
        model = deepcopy(dict(self.model))
        if self.widths:
            model[BACKBONE] |= swin_dims(self.groups)
        return model

    def build(self) -> nn.Module:
        """A freshly initialised detector."""
        network = build_model(self.config())
        with quiet():
            network.init_weights()
        return network

    def empty(self) -> Any:
        """A detector whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return build_model(self.config())

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """The backbone's layers in forward order for an image of (C, H, W), then the parameters of all that follows.

        The heads' MACs depend on what is in the image: they are not counted.
        """
        network = BackboneAlone(self.empty())
        found = traced_operators(network, self.groups, input_size)
        heads = [name for name, _ in network.named_children() if name != BACKBONE]
        rest = [
            Operator(f"{head}.{name}", "parameter", 1, 1, macs=0, weights=value.numel())
            for head in heads
            for name, value in network.get_submodule(head).named_parameters()
        ]
        own = [op for op in bare_parameters(network, self.groups) if op.name.startswith(f"{BACKBONE}.")]
        return (*found, *own, *rest)

    def timed(self, network: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
        """The whole detector, as it is exported."""
        from .export.timing import TimedDetector

        return TimedDetector(network, input_size)

    def export(self, network: nn.Module, card: Card, path: Path, **options: Any) -> list[Path]:
        """The whole detector, for images of both orientations; UserError where it is not exported."""
        from .export.forms import export_network

        return export_network(network, card, path, **options)


class BackboneAlone(nn.Module):
    """The modules of `detector` under their own names; its forward pass is the backbone's, [B, C, H, W] -> maps."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        for name, module in detector.named_children():
            self.add_module(name, module)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of all levels."""
        backbone: Any = self.backbone
        return backbone(images)


def unpretrained(model: Any) -> dict[str, Any]:
    """`model` without weights to load, checked, and with the Swin that can be sliced in place of MMDetection's."""
    try:
        found = checked(model)
    except UserError as error:
        raise error.at("space.config") from None
    backbone = found.get(BACKBONE) if isinstance(found, dict) else None
    kind = backbone.get("type") if isinstance(backbone, dict) else None
    if not isinstance(backbone, dict) or kind not in FAMILY:
        raise UserError(
            f"space.config: its backbone is {kind!r}, which is not scored; choose a detector with a "
            f"SwinTransformer, for example {EXAMPLE}"
        )
    for key in ("init_cfg", "pretrained", "convert_weights"):
        backbone.pop(key, None)
    found[BACKBONE] = {**backbone, "type": SlicedSwinTransformer.__name__}
    found.pop("init_cfg", None)
    return found


def build_model(model: Mapping[str, Any]) -> Any:
    """The detector of a config's model section, its weights as PyTorch initialises them; UserError if it is broken.

    Under autocast its RoI heads are given float32 maps: MMDetection rounds RoIs to the maps' type, and bfloat16 knows
    only every eighth pixel from 1024 on.
    """
    from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    if DefaultScope.get_current_instance() is None:
        register_all_modules()
    try:
        with DefaultScope.overwrite_default_scope("mmdet"), registered_only():
            network = MODELS.build(ConfigDict(deepcopy(dict(model))))
    except UserError:
        raise
    except FAULTS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"space.config: MMDetection refuses its model section ({type(error).__name__}: {reason}); correct it"
        ) from None
    for module in network.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(_single_precision)
    return network


def _single_precision(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    maps, *rest = inputs
    return tuple(level.float() for level in maps), *rest


@contextmanager
def quiet() -> Iterator[None]:
    """MMDetection logs every tensor that it initialises and every group of an optimiser."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@lru_cache(maxsize=8)
def _groups(model: str) -> tuple[Group, ...]:
    """Groups of the unpruned detector; `model` as JSON, because results are kept."""
    with torch.random.fork_rng(devices=[]):  # kept results draw nothing, so neither may the first one
        backbone = build_model(json.loads(model)).backbone
    return tuple(group.with_prefix(BACKBONE) for group in swin_groups(backbone))


SPACES.add(DetectorSpace)
