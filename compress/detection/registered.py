"""Model sections of MMDetection's configs as data: nothing but registered classes is built, and no file is named.

MMEngine's registries import what they do not know by its dotted name, `batched_nms` evaluates the name of its
operator, and some classes open what their arguments name. A model section may come from the card of a stranger, so all
of it is checked before anything of it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..plan import UserError, brief

SCOPES = ("mmdet", "mmengine", "mmcv")
"""Scopes that a type may be prefixed with; MMEngine imports the package of any other."""

READERS = frozenset(
    {
        "ATSSVLFusionHead",
        "AppearanceFreeLink",
        "BertModel",
        "CameraMotionCompensation",
        "Detectron2Wrapper",
        "GLIP",
        "GroundingDINO",
        "KnowledgeDistillationSingleStageDetector",
        "LAD",
    }
)
"""Registered classes that run, evaluate, open or download what their arguments name."""

NMS_KEYS = ("nms", "nms_cfg", "dqs_cfg")
NMS = ("nms", "soft_nms")
"""Where MMCV evaluates a type, and what may stand there."""

ROI_LAYERS = ("RoIAlign", "RoIPool", "SimpleRoIAlign", "DeformRoIPoolPack", "ModulatedDeformRoIPoolPack")
"""What may be the type of a `roi_layer`, which MMDetection looks up in mmcv.ops."""

CHOICES = (
    "same_up_trans",
    "across_lateral_trans",
    "across_down_trans",
    "across_up_trans",
    "across_skip_trans",
    "output_trans",
    "adapt_cfg",
)
"""Keys below which `type` is a word that a class compares, not the name of one."""

PRETRAINED = "Pretrained"
FILE = re.compile(r"[/\\:]|\.[A-Za-z]\w*$")
"""What a text that names a file, an address or a module looks like."""


def checked(section: Any, name: str = "model") -> Any:
    """A copy of the model section without weights to load; `name` is what messages call it.

    Left out are `pretrained` and every `init_cfg` with a checkpoint. Raises UserError, naming the place, for a type
    that is not the name of a registered class, for one of `READERS`, and for a text that names a file or an address.

    Example::

        checked({"type": "FPN", "init_cfg": {"type": "Pretrained", "checkpoint": "https://..."}})  # {"type": "FPN"}
    """
    if isinstance(section, Mapping):
        return {key: checked(value, f"{name}.{key}") for key, value in _entries(section, name)}
    if isinstance(section, list | tuple):
        return [checked(value, f"{name}[{i}]") for i, value in enumerate(section)]
    if isinstance(section, str) and name.rpartition(".")[2] != "type" and FILE.search(section):
        raise UserError(f"{name} = {brief(section)}: names a file or an address, which no model section may; remove it")
    if not isinstance(section, str | int | float | None):
        raise UserError(f"{name} = {brief(section)}: must be a plain value; give numbers, texts, lists and dicts")
    return section


def _entries(section: Mapping[Any, Any], name: str) -> Iterator[tuple[str, Any]]:
    """What is kept of a dict, its own type and scope checked."""
    for key, value in section.items():
        if not (isinstance(key, str) and key.isidentifier()):
            raise UserError(f"{name}: {brief(key)} is no name of a setting; remove it")
        if key == "pretrained" and value is not None:
            continue
        if key == "init_cfg":
            value = _initial(value, f"{name}.{key}")
            if value is None:
                continue
        if key == "type":
            _check_type(value, name)
        if key == "_scope_" and value not in SCOPES:
            raise UserError(f"{name}._scope_ = {brief(value)}: must be one of {', '.join(SCOPES)}; remove it")
        yield key, value


def _check_type(value: Any, name: str) -> None:
    """UserError unless `value` may be the type of the dict called `name`."""
    place = re.sub(r"\[\d+\]$", "", name).rpartition(".")[2]
    known: Mapping[str, Any] | tuple[str, ...]
    if ".init_cfg" in name:
        known, what = _initialisers(), "an initialiser of MMEngine's"
    elif place in NMS_KEYS:
        known, what = NMS, f"{' or '.join(NMS)}"
    elif place == "roi_layer":
        known, what = ROI_LAYERS, f"one of {', '.join(ROI_LAYERS)}"
    elif place in CHOICES and isinstance(value, str) and re.fullmatch(r"\w+", value):
        return
    else:
        known, what = held_classes(), "the name of a class in MMDetection's registries"
    bare = value.removeprefix(f"{scope}.") if isinstance(value, str) and (scope := _scope(value)) else value
    if not isinstance(bare, str) or bare not in known:
        raise UserError(f"{name}.type = {brief(value)}: must be {what}; correct it, or register yours before")
    found = known[bare] if isinstance(known, Mapping) else None
    if getattr(found, "__name__", bare) in READERS:
        raise UserError(f"{name}.type = {value!r}: opens files or addresses by itself; choose another detector")


def _scope(value: str) -> str | None:
    """The scope that a type begins with, of those that may be."""
    return next((scope for scope in SCOPES if value.startswith(f"{scope}.")), None)


def _initial(value: Any, name: str) -> Any:
    """An `init_cfg` without weights to load; None when nothing is left."""
    if isinstance(value, list | tuple):
        return [entry for entry in value if not _loads(entry)] or None
    return None if _loads(value) else value


def _loads(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    kind = entry.get("type")
    return "checkpoint" in entry or (isinstance(kind, str) and kind.rpartition(".")[2] == PRETRAINED)


def held_classes() -> dict[str, Any]:
    """Name -> class of all that a model section may build."""
    from mmdet.registry import MODELS, TASK_UTILS

    return _held(MODELS) | _held(TASK_UTILS)


def _initialisers() -> dict[str, Any]:
    from mmengine.registry import WEIGHT_INITIALIZERS

    return {name: kind for name, kind in _held(WEIGHT_INITIALIZERS).items() if name != PRETRAINED}


def _held(registry: Any) -> dict[str, Any]:
    """What a registry and those that it falls back to hold."""
    above = {} if registry.parent is None else _held(registry.parent)
    return above | registry.module_dict


@contextmanager
def registered_only() -> Iterator[None]:
    """MMEngine's registries import nothing within but modules of their own packages.

    What none of them holds is refused with a RuntimeError.
    """
    from mmengine.registry import registry

    before = registry.get_object_from_string, registry.import_module

    def refuse(name: str) -> None:
        raise ImportError(f"{name} is not registered")

    def import_own(name: str) -> Any:
        return before[1](name) if name.partition(".")[0] in SCOPES else refuse(name)

    registry.get_object_from_string, registry.import_module = refuse, import_own
    try:
        yield
    finally:
        registry.get_object_from_string, registry.import_module = before
