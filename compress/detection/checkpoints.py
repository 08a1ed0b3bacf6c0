"""Checkpoints of other layouts than MMDetection's, and what a run leaves for MMDetection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..plan import UserError, replacing, write_text
from ..spaces.naming import shortened
from .data import CocoData
from .space import DetectorSpace

INERT = (
    "init_cfg",
    "train_cfg",
    "test_cfg",
    "drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "frozen_stages",
    "with_cp",
)
"""Keys of a model section, beside those of losses, by which networks with the same weights may differ."""


DIMS = ("model.backbone.head_dims", "model.backbone.mlp_dims", "model.backbone.widths.")
"""What the widths of a pruned config begin with."""


def check_same_model(theirs: Any, ours: Mapping[str, Any]) -> None:
    """UserError, which names the first differences, unless two model sections are of one architecture."""
    there, here = dict(_leaves(theirs, "model")), dict(_leaves(ours, "model"))
    odd = [key for key in here.keys() | there.keys() if here.get(key) != there.get(key)]
    if odd and all(key.startswith(DIMS) for key in odd):
        raise UserError(
            "its widths are counted from the unpruned config, and space.config is a pruned one; give the config that "
            "the run was made with, or MMDetection's checkpoint (model.pth)"
        )
    if odd:
        shown = ", ".join(f"{key} = {there.get(key)!r} there, {here.get(key)!r} here" for key in sorted(odd)[:3])
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise UserError(f"a checkpoint of another architecture ({shown}{more}); correct space.config")


def _leaves(section: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a model section that weights depend on."""
    if isinstance(section, Mapping):
        for key, value in section.items():
            if key not in INERT and not key.startswith("loss"):
                yield from _leaves(value, f"{path}.{key}")
    elif isinstance(section, list) and any(isinstance(value, Mapping) for value in section):
        for i, value in enumerate(section):
            yield from _leaves(value, f"{path}.{i}")
    else:
        yield path, section


def is_narrower(state: Mapping[str, Tensor], space: DetectorSpace) -> bool:
    """Whether `state` is of a detector of `space` whose backbone was pruned."""
    own = space.empty().state_dict()
    odd = [name for name, value in own.items() if name in state and state[name].shape != value.shape]
    return (
        own.keys() == state.keys()
        and bool(odd)
        and all(name.startswith("backbone.") and state[name].numel() < own[name].numel() for name in odd)
    )


def in_mmdetection_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under MMDetection's names: backbones of the official Swin repository are converted."""
    from mmdet.models.backbones.swin import swin_converter

    state, _ = shortened(state, ("backbone.",))
    own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    if not any(re.match(r"layers\.\d+\.blocks\.", name) for name in own):
        return dict(state)
    kept = {name: value for name, value in own.items() if not name.endswith("attn_mask")}
    rest = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    return {**swin_converter(kept), **rest}


ALONE = ("layers.", "stages.", "patch_embed.", "absolute_pos_embed", "norm", "conv1.", "bn1.", "layer")
"""What names begin with in a Swin or a ResNet without a detector around it."""


def backbone_of(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The backbone in `state` under a detector's names, where it is a Swin or a ResNet alone, with or without a
    classifier."""
    own = {name.removeprefix("backbone."): value for name, value in shortened(state, ("backbone.",))[0].items()}
    own = {name: value for name, value in own.items() if not name.startswith(("head.", "norm.", "fc."))}
    if not all(name.startswith(ALONE) for name in own):
        return None
    return in_mmdetection_layout({f"backbone.{name}": value for name, value in own.items()})


def write_mmdetection(stem: Path, network: nn.Module, space: DetectorSpace, data: CocoData) -> None:
    """Write `stem`.py and `stem`.pth: a config and a checkpoint that MMDetection trains, tests and runs.

    The config imports `compress.detection` for the backbone. Where MMCV has no compiled operators, that has to be
    imported before MMDetection's own tools are: docs/detection.md shows how they are started.
    """
    config = Config(dict(data.config.to_dict()))
    config.model = space.config()
    imports = dict(config.get("custom_imports") or {})
    modules = dict.fromkeys([*imports.get("imports", []), "compress.detection"])
    config.custom_imports = {"imports": list(modules), "allow_failed_imports": False}
    write_text(stem.with_name(f"{stem.name}.py"), config.pretty_text)
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    # Through a file of Python's, whose errors say their cause: PyTorch's own writer tells "unexpected pos".
    with replacing(stem.with_name(f"{stem.name}.pth")) as tmp, open(tmp, "wb") as file:
        torch.save({"meta": {"dataset_meta": {"classes": list(data.classes)}}, "state_dict": state}, file)
