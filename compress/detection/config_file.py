"""MMDetection's config files: read, and pointed at other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..pipeline.recipe_file import PYTHON, run_python
from ..plan import UserError
from .datasets import datasets_in, reads_coco
from .space import FAULTS

DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def load_config(path: Any) -> Config:
    """The MMDetection config file `path`; UserError when it is missing, broken, or no detector's."""
    if not isinstance(path, str) or not (path.startswith("mmdet::") or Path(path).is_file()):
        raise UserError(
            f"recipe: space.config = {path!r}: no such file; give an MMDetection config, or one that it brings along "
            "as 'mmdet::swin/NAME.py'"
        )
    name = f"recipe: space.config {path}"
    if path.startswith("mmdet::"):
        try:
            from mmengine.hub import get_config

            config = get_config(path)
        except (*FAULTS, SyntaxError, OSError, NameError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{name}: cannot be read ({type(error).__name__}: {reason}); correct its name") from None
    elif path.endswith(PYTHON):
        config = run_python(Path(path), name)
    else:
        raise UserError(f"{name}: must be MMDetection's config in Python; give a .py file")
    if missing := [key for key in ("model", "train_dataloader", "val_dataloader") if key not in config]:
        raise UserError(f"recipe: space.config {path}: has no {', '.join(missing)}; give a whole detector's config")
    test = config.model.get("test_cfg") or {}
    if "panoptic_fusion_head" in config.model and not test.get("instance_on"):
        raise UserError(
            f"recipe: space.config {path}: model.test_cfg.instance_on is not True, so that it finds no objects, "
            "which AP is of; set it to True"
        )
    return config


def pretrained(config: Config) -> str | None:
    """The weights that MMDetection would load before training by `config`."""
    model, backbone = config.model, config.model.backbone
    named = [part.get("init_cfg") for part in (backbone, model)]
    files = [found.get("checkpoint") for found in named if isinstance(found, dict)]
    return next((file for file in (*files, backbone.get("pretrained"), config.get("load_from")) if file), None)


def move_data(config: Config, root: str) -> None:
    """Let all of `config` read from `root` what it reads from its data sets' `data_root`, MMDetection's tests too.

    Raises UserError where one of its dataloaders reads from several folders.
    """
    old = {str(config.get("data_root") or "")}
    for part in DATALOADERS:
        inner = [one for one in datasets_in((config.get(part) or {}).get("dataset") or {}) if reads_coco(one)]
        roots = dict.fromkeys(str(one.get("data_root") or "") for one in inner)
        if len(roots) > 1:
            raise UserError(
                f"its {part} reads from several folders ({', '.join(roots)}), which no single one replaces",
                argument="data.root",
                value=root,
                remedy="set data.root=None, and the folders in the config",
            )
        old |= set(roots)
        for one in inner:
            one["data_root"] = root
    if "data_root" in config:
        config["data_root"] = root
    for part in ("val_evaluator", "test_evaluator"):
        found = config.get(part) or []
        for evaluator in found if isinstance(found, list) else [found]:
            file = str(evaluator.get("ann_file") or "")
            if start := next((start for start in old if start and file.startswith(start)), None):
                evaluator["ann_file"] = str(Path(root) / file.removeprefix(start).lstrip("/"))
