"""Tensors in files: reading safetensors, and the rule that every number in them is finite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError, reason, shown

if TYPE_CHECKING:
    from torch import Tensor


def read_safetensors(path: str | Path, *, source: str, remedy: str) -> dict[str, Tensor]:
    """The tensors of the safetensors file `path`, by name.

    Raises UserError, beginning with `source` and ending with `remedy`, when the file cannot be read, is cut off, or its
    header does not fit what follows it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or reason(error)}); {remedy}") from None
    except (SafetensorError, ValueError, KeyError, OverflowError, RuntimeError, MemoryError) as error:
        raise UserError(f"{source}: not a safetensors file, or a corrupt one ({reason(error)}); {remedy}") from None


def check_finite(name: str, tensor: Tensor, *, source: str, remedy: str) -> None:
    """UserError, beginning with `source` and ending with `remedy`, unless all numbers of `tensor` are finite.

    Float64 numbers must also lie within float32, in which everything is computed.

    Args:
        name: of the tensor, for the message.
        tensor: of any type.
        source: where it comes from: the message begins with it.
        remedy: what the user can do: the message ends with it.

    Example::

        check_finite("fc.bias", torch.tensor([0.0]), source="net.pth", remedy="train it again")
    """
    import torch

    if not tensor.numel() or not tensor.is_floating_point():
        return
    low, high = (float(each) for each in tensor.detach().aminmax())
    largest = torch.finfo(torch.float32).max
    if -largest <= low and high <= largest:  # false for NaN, which aminmax hands on
        return
    odd = ~(tensor.detach().double().abs() <= largest)
    place = [int(i) for i in odd.nonzero()[0]]
    value = float(tensor[tuple(place)])
    rule = "must be finite" if not abs(value) < float("inf") else f"must lie within float32, up to {largest:.3g}"
    raise UserError(
        f"{source}: {shown(name)}{place} = {value:g}, and {int(odd.sum())} of its {tensor.numel()} values are of this "
        f"kind; every value {rule}; {remedy}"
    )
