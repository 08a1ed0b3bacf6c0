"""Parameters and MACs: as formulas of the widths, and counted on a running network. One multiply-add is one MAC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..spaces import Operator, evaluating, shapes_through, width_at

Number = TypeVar("Number", int, Tensor)


def macs(operators: Iterable[Operator], widths: Mapping[str, Number]) -> Number:
    """MACs of one image at `widths` {group: int, or a soft width as a scalar tensor, which is differentiable}.

    Example::

        macs(space.operators((3, 32, 32)), {**sizes(space.groups), "layer1.0.conv1": 9})
    """
    total: Number = _total(macs_of(op, width_at(op.n_in, widths), width_at(op.n_out, widths)) for op in operators)
    return total


def params(operators: Iterable[Operator], widths: Mapping[str, Number]) -> Number:
    """Parameters at `widths`, {group: int or scalar tensor}, as `macs`."""
    total: Number = _total(params_of(op, width_at(op.n_in, widths), width_at(op.n_out, widths)) for op in operators)
    return total


def macs_of(op: Operator, n_in: Any, n_out: Any) -> Any:
    """MACs of one operator at numbers of channels: ints, scalar tensors, or arrays that broadcast."""
    return op.macs * n_in * n_out


def params_of(op: Operator, n_in: Any, n_out: Any) -> Any:
    """Parameters of one operator, as `macs_of`."""
    return (op.weights * n_in + op.biases) * n_out


def count_params(model: nn.Module) -> int:
    """Number of parameters of `model`, buffers not counted."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """MACs of one (C, H, W) image in convolutions and matrix products, attention's included; see `count_module_macs`.

    Knows nothing of spaces: it checks `macs`, and counts networks that have no formula.
    """
    return sum(count_module_macs(model, input_size).values())


def count_module_macs(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, int]:
    """MACs of one (C, H, W) image that each module spends itself, outside its submodules; "" is the network.

    An attention module's own MACs are its two products of tokens. Modules without MACs are left out. PyTorch's FLOP
    counter counts (two FLOPs are one MAC) while shapes alone pass through the network, on the meta device: large images
    take no longer, and there fused attention, whose CPU kernel the counter does not know, consists of its two products.
    The weights are not touched, and the model's mode is restored.

    Example::

        count_module_macs(network, (3, 224, 224))["layers.0.blocks.0.attn"]
    """
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, *input_size, dtype=next(model.parameters()).dtype, device="meta")
    with evaluating(model), FlopCounterMode(display=False) as counter:
        shapes_through(model, [image])
    root = type(model).__name__
    flops = {
        name.removeprefix(root).removeprefix("."): sum(by_operation.values())
        for name, by_operation in counter.get_flop_counts().items()
        if name != "Global"
    }
    own = dict(flops)
    for name in flops:
        outer = name
        while outer:
            outer = outer.rpartition(".")[0]
            if outer in flops:  # a ModuleList is not: it is never called itself
                own[outer] -= flops[name]
                break
    return {name: n // 2 for name, n in own.items() if n}


def _total(costs: Iterable[Any]) -> Any:
    return sum(costs)
