"""Folders of networks as timm keeps them on the Hugging Face Hub: config.json and the weights beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from ..plan import UserError, read_stored
from ..plan.kinds import ImageSize, Name
from .constructors import is_code

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
REMEDY = "download it again"
Numbers = Annotated[list[Annotated[float, Ge(-1e6), Le(1e6)]], MinLen(1), MaxLen(64)]


class _Pixels(TypedDict, total=False):
    """How images were shown to the network in its training."""

    input_size: ImageSize
    mean: Numbers
    std: Annotated[list[Annotated[float, Gt(1e-9), Le(1e6)]], MinLen(1), MaxLen(64)]


class HubFile(_Pixels, total=False):
    """timm's config.json; older ones have what stands in `pretrained_cfg` beside the architecture.

    `model_type` is of transformers, whose config.json has no architecture.
    """

    architecture: Name
    pretrained_cfg: _Pixels
    model_type: Name


@dataclass(frozen=True)
class HubFolder:
    """The network of such a folder: its weights, timm's name of it, and what of its preprocessing is told."""

    weights: Path
    architecture: str
    preprocessing: dict[str, Any]


def hub_folder(path: str | Path) -> HubFolder | None:
    """What the folder `path` holds in the way of the Hub; None where it is none of these, or has a card of ours.

    Raises UserError for a damaged config.json, and for a folder of transformers or without weights.
    """
    path = Path(path)
    if not (path / CONFIG).is_file() or (path / "model.json").is_file():
        return None
    found = read_stored(path / CONFIG, HubFile, remedy=REMEDY)
    if "architecture" not in found:
        kind = f"model_type = {found['model_type']!r}" if "model_type" in found else "no architecture"
        raise UserError(
            f"{path}: its {CONFIG} has {kind}, so it is no folder of timm's; networks of transformers have layers of "
            "their own names: give timm's folder of the network, or its weights under the names of the recipe's"
        )
    weights = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise UserError(f"{path}: has {CONFIG}, but no {' or '.join(WEIGHTS)}; {REMEDY}")
    pixels = found.get("pretrained_cfg", found)
    return HubFolder(
        weights, found["architecture"], {key: pixels[key] for key in _Pixels.__annotations__ if key in pixels}
    )


def check_architecture(folder: HubFolder, model: object) -> None:
    """UserError where timm's `model`, a name without a tag, is another architecture than the folder's."""
    named = isinstance(model, str) and ":" not in model and not is_code(model)
    if named and str(model).partition(".")[0] != folder.architecture:
        raise UserError(
            f"{folder.weights.parent}: a {folder.architecture}, but space.model = {model!r}; set space.model to "
            f"{folder.architecture}"
        )
