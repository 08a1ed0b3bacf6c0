"""Averaged weights (EMA) beside plain ones, as trainings of different libraries save them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

PLAIN = ("state_dict", "model_state_dict", "model", "module")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
"""Keys in the order in which they are looked for: timm's, DeiT's and torchvision's, YOLO's."""
EMA = re.compile(r"(?:\w*_)?ema(?:_\w*)?")
"""The module of averaged weights within a state dict."""
COUNTERS = ("n_averaged", "steps")
"""What PyTorch's and MMEngine's averaged models count, beside the weights under `module.`."""


def sets_of(found: Mapping[Any, Any]) -> tuple[str | None, str | None]:
    """The keys of the plain and of the averaged weights in a checkpoint's dict; None: there are no such ones.

    MMEngine's EMAHook and Lightning's WeightAveraging leave the averaged weights under `state_dict`, and the plain
    ones elsewhere.
    """
    plain = next((key for key in PLAIN if isinstance(found.get(key), dict | nn.Module)), None)
    averaged = next((key for key in AVERAGED if _holds(found.get(key))), None)
    if plain == "state_dict" and averaged == "ema_state_dict" and "steps" in found[averaged]:
        return averaged, plain
    if plain == "state_dict" and "averaging_state" in found and _holds(found.get("current_model_state")):
        return "current_model_state", plain
    return plain, averaged


def _holds(value: Any, wrappers: int = 2) -> bool:
    """Whether `value` is a network or a dict of tensors, maybe in `wrappers` more."""
    if isinstance(value, nn.Module):
        return True
    if not isinstance(value, dict):
        return False
    inner = any(_holds(value.get(key), wrappers - 1) for key in PLAIN) if wrappers else False
    return inner or any(isinstance(tensor, Tensor) for tensor in value.values())


def one_of(prefixes: Sequence[str], *, ema: bool) -> tuple[str, str] | None:
    """Of two prefixes in one state dict, such as `model.` and `ema.module.`, that of the averaged weights if `ema`,
    else that of the plain ones, and the other; None where they are not such a pair."""
    averaged = [prefix for prefix in prefixes if any(EMA.fullmatch(part) for part in prefix.split("."))]
    plain = [prefix for prefix in prefixes if prefix not in averaged]
    if len(averaged) != 1 or len(plain) != 1:
        return None
    return (averaged[0], plain[0]) if ema else (plain[0], averaged[0])


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without the counters of averaged models, where all other names begin with `module.`."""
    others = {name: value for name, value in state.items() if name not in COUNTERS}
    return others if others and all(name.startswith("module.") for name in others) else dict(state)


def described(plain: str, averaged: str, *, ema: bool) -> str:
    """The line that says which of two sets is taken."""
    taken, other, flag = ("averaged", "plain", "--no-ema") if ema else ("plain", "averaged", "--use-ema")
    return f"holds plain weights ({plain}) and averaged ones ({averaged}): takes the {taken}; {flag} takes the {other}"
