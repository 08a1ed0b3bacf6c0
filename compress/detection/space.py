"""MMDetection's detectors as a search space: what is inside the blocks of the backbone is scored (thesis 4.4)."""

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
from ..spaces import SPACES, Card, Group, Operator, WidthSpace, sizes
from ..spaces.arguments import check_ends, check_widths
from ..spaces.traced import bare_parameters, plain_heads, remembered, traced_operators, uncounted
from .backbones import SLICED, at_widths, backbone_groups, normalised_layers, scored_section
from .operators import check_operators
from .registered import checked, registered_only

BACKBONE = "backbone"
EXAMPLE = "recipes/detection/mmdet/cascade_mask_rcnn_swin_t_coco.py"
FAULTS = (KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError, IndexError, RuntimeError)
"""What MMDetection raises for a model section that it cannot build."""


@dataclass(frozen=True)
class DetectorSpace(WidthSpace):
    """A detector of MMDetection, `model` being its config's model section as plain values.

    The section is data, a stranger's too (`registered.checked`): types are names of registered classes, weights that it
    would load are left out, and what names files is refused. Scored are, of a Swin backbone, the dimensions of heads
    and the MLPs' hidden units, as in `spaces.transformer`; of any other what `backbones` finds inside its blocks.
    `widths` holds the groups that differ from the original. Raises UserError for a section that is more than data, a
    model that MMDetection cannot build, a backbone of which nothing can be pruned, and widths out of range.

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

    @property
    def normalised(self) -> Mapping[str, str]:
        """As the trace of the backbone shows."""
        with building():
            found = normalised_layers(self.model[BACKBONE])
        return {f"{BACKBONE}.{layer}": f"{BACKBONE}.{norm}" for layer, norm in found.items()}

    def config(self) -> dict[str, Any]:
        """The model section at this space's widths: what MMDetection builds the network from."""
        model = deepcopy(dict(self.model))
        if self.widths:
            prefix = f"{BACKBONE}."
            widths = {name.removeprefix(prefix): width for name, width in self.widths.items()}
            model[BACKBONE] = at_widths(model[BACKBONE], widths, self.groups)
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

    @remembered
    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """The backbone's layers in forward order for an image of (C, H, W), then the parameters of all that follows.

        The heads' MACs depend on what is in the image: they are not counted.
        """
        network = BackboneAlone(self.empty())
        traced = self.model[BACKBONE]["type"] == SLICED
        found = traced_operators(network, self.groups, input_size, attention=plain_heads if traced else None)
        heads = [name for name, _ in network.named_children() if name != BACKBONE]
        rest = [
            Operator(f"{head}.{name}", "parameter", 1, 1, macs=0, weights=value.numel())
            for head in heads
            for name, value in network.get_submodule(head).named_parameters()
        ]
        own = [op for op in bare_parameters(network, self.groups) if op.name.startswith(f"{BACKBONE}.")]
        if traced:  # attention of other kinds
            alone = BackboneAlone(nn.ModuleDict({BACKBONE: network.get_submodule(BACKBONE)}))
            own += uncounted(alone, (*found, *own), widths=sizes(self.groups), size=input_size)
        return (*found, *own, *rest)

    def timed(self, network: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
        """The whole detector, as it is exported."""
        from .export.timing import TimedDetector

        return TimedDetector(network, input_size)

    def export(self, network: nn.Module, card: Card, path: Path, **options: Any) -> list[Path]:
        """The whole detector, for images of both orientations; UserError where it is not exported."""
        from .export.forms import export_network

        return export_network(network, card, path, **options)

    def export_int8(self, network: nn.Module, card: Card, path: Path, **options: Any) -> dict[Path, int]:
        """As `export`, backbone and neck in 8-bit integers."""
        from .calibration import export_calibrated

        return export_calibrated(network, card, path, **options)


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
    """`model` without weights to load, checked, and with a backbone that can be sliced in place of MMDetection's."""
    try:
        found = checked(model)
    except UserError as error:
        raise error.at("space.config") from None
    backbone = found.get(BACKBONE) if isinstance(found, dict) else None
    kind = backbone.get("type") if isinstance(backbone, dict) else None
    if not isinstance(backbone, dict) or kind is None:
        raise UserError(
            f"space.config: its backbone is {kind!r}, which is not scored; choose a detector with a backbone, for "
            f"example {EXAMPLE}"
        )
    found[BACKBONE] = scored_section(backbone)
    found.pop("init_cfg", None)
    return found


def build_model(model: Mapping[str, Any]) -> Any:
    """The detector of a config's model section, its weights as PyTorch initialises them; UserError if it is broken.

    Under autocast its RoI heads are given float32 maps: MMDetection rounds RoIs to the maps' type, and bfloat16 knows
    only every eighth pixel from 1024 on.
    """
    from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict

    try:
        with building():
            network = MODELS.build(ConfigDict(deepcopy(dict(model))))
    except UserError:
        raise
    except FAULTS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"space.config: MMDetection refuses its model section ({type(error).__name__}: {reason}); correct it"
        ) from None
    check_operators(network)
    for module in network.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(_single_precision)
    return network


@contextmanager
def building() -> Iterator[None]:
    """MMDetection's registries hold their classes, and nothing else is imported by them."""
    from mmdet.utils import register_all_modules
    from mmengine.registry import DefaultScope

    if DefaultScope.get_current_instance() is None:
        register_all_modules()
    with DefaultScope.overwrite_default_scope("mmdet"), registered_only():
        yield


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
    section = json.loads(model)
    with torch.random.fork_rng(devices=[]):  # kept results draw nothing, so neither may the first one
        backbone = build_model(section).backbone
    with building():
        groups = backbone_groups(section[BACKBONE], backbone)
    return tuple(group.with_prefix(BACKBONE) for group in groups)


SPACES.add(DetectorSpace)
