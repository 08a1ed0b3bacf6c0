"""Rules that the tensors of a checkpoint must keep, whoever wrote it, before they become a network's weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..plan.errors import shown
from ..plan.tensors import check_finite

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types that weights may be stored in; networks compute in the first, to which the others are converted."""
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
SWELL, SLACK_BYTES = 20, 1 << 20
"""Tensors of a file may take SWELL times its size in memory, and SLACK_BYTES more: tied ones are stored once."""
RECIPE = "set the recipe's space section (type, depth or model, classes) to the checkpoint's"
"""What to do with weights that do not fit."""
DIVERGED = "give a checkpoint from before its training diverged, or train it again with a lower rate"


def check_tensors(state: Mapping[str, Tensor], *, source: str, file_bytes: int) -> None:
    """UserError, beginning with `source`, unless `state` holds plain finite numbers, no more than a file of
    `file_bytes` can hold.

    Sparse, quantised and complex tensors, tensors without data, views that claim more than the file has, NaN, infinity,
    float64 beyond float32, and negative variances of BatchNorms are refused by name.
    """
    for name, tensor in state.items():
        if (kind := _foreign_kind(tensor)) is not None:
            raise UserError(
                f"{source}: {shown(name)} is {kind}; weights must be plain tensors of floating-point numbers; save "
                "the state dict of the network before it was converted"
            )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > SWELL * file_bytes + SLACK_BYTES:
        name = max(state, key=lambda name: state[name].numel() * state[name].element_size())
        raise UserError(
            f"{source}: its tensors claim {claimed} bytes, most of them {shown(name)} {_shape(state[name])}, and the "
            f"file has {file_bytes}; expanded views must be saved with .clone(), or the file is malicious"
        )
    for name, tensor in state.items():
        check_finite(name, tensor, source=source, remedy=DIVERGED)
        if name.endswith("running_var") and tensor.numel() and tensor.dtype in FLOATS and float(tensor.min()) < 0:
            raise UserError(
                f"{source}: {shown(name)} = {float(tensor.min()):g} at its smallest; a BatchNorm's variances must be "
                f"at least 0; {DIVERGED}"
            )


def check_types(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, source: str, streams: Mapping[str, int]
) -> None:
    """UserError unless every tensor of `state` is of the kind that the network's `own` has: no number changes silently.

    Weights may be stored as any of FLOATS; a warning says which are converted. `streams` is {buffer: channels that it
    chooses from}; of other gathers it is as many as `own` chooses.
    """
    converted: Counter[Any] = Counter()
    for name, wanted in own.items():
        if name not in state or wanted.dtype == state[name].dtype == torch.bool:
            continue
        given = state[name]
        kinds, rule = (FLOATS, "floating-point numbers") if wanted.is_floating_point() else (INTEGERS, "integers")
        if given.dtype not in kinds:
            dtypes = ", ".join(_type(kind) for kind in kinds)
            raise UserError(
                f"{source}: {shown(name)} is {_type(given.dtype)}; must be {rule} ({dtypes}); save the network's own "
                "state dict, not a converted one"
            )
        converted[given.dtype] += wanted.is_floating_point() and given.dtype != wanted.dtype
        if name.rpartition(".")[2] == "index":
            _check_gather(name, given, most=streams.get(name, wanted.numel()), source=source)
    if found := ", ".join(f"{count} tensors are {_type(dtype)}" for dtype, count in converted.items() if count):
        warnings.warn(f"{source}: {found}; converted to float32, in which networks compute", stacklevel=4)


def load_exactly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str | Path,
    streams: Mapping[str, int] | None = None,
    remedy: str = RECIPE,
) -> None:
    """Load `state` into `model`, whose tensors it must have, and no others; UserError where it has not.

    Args:
        model: takes the weights, in place.
        state: name -> tensor.
        source: the file, for messages.
        streams: as `check_types` takes them.
        remedy: what helps against weights of another network.
    """
    own = model.state_dict()
    check_fits(own, state, source=source, remedy=remedy)
    check_types(own, state, source=str(source), streams=streams or {})
    model.load_state_dict({name: state.get(name, own[name]) for name in own})


def check_fits(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, source: str | Path, remedy: str = RECIPE
) -> None:
    """UserError unless `state` has the tensors of `own`, but for counters of batches, and no others."""
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in optional]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    found = [
        f"{len(keys)} {what}: {', '.join(map(shown, keys[:4]))}{', ...' * (len(keys) > 4)}"
        for what, keys in parts
        if keys
    ]
    if found:
        raise UserError(f"{source}: a checkpoint of another architecture; {'; '.join(found)}; {remedy}")


def _check_gather(name: str, index: Tensor, *, most: int, source: str) -> None:
    """Channels that a layer reads: ascending, from 0 to `most` - 1."""
    if (
        index.dim() != 1
        or not len(index)
        or int(index[0]) < 0
        or int(index[-1]) >= most
        or bool((index.diff() <= 0).any())
    ):
        raise UserError(
            f"{source}: {shown(name)} = {shown(index.flatten().tolist()[:8])}: must be ascending channels from 0 to "
            f"{most - 1}; restore the file or slice again"
        )


def _foreign_kind(tensor: Tensor) -> str | None:
    """What makes `tensor` other than plain numbers in memory, in words; None: nothing."""
    if tensor.is_nested or type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return f"a {type(tensor).__name__} of another kind ({'nested' if tensor.is_nested else 'a subclass'})"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.device.type == "meta":
        return "without data (on the meta device)"
    if tensor.is_quantized or tensor.dtype not in (*FLOATS, *INTEGERS, torch.bool):
        return f"{'quantised' if tensor.is_quantized else 'of type'} {_type(tensor.dtype)}"
    return None


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
