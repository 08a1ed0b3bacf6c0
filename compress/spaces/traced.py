"""For networks built by a library: operators read off a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import plain_attention
from .groups import Group, Slice
from .operators import Operator, Width, axis_width, width_at
from .shapes import evaluating, shapes_through

LAYERS = nn.modules.conv._ConvNd | nn.Linear | nn.BatchNorm2d | nn.LayerNorm
Part = tuple[Group, Slice]
Traced = Callable[[Any, tuple[int, int, int]], tuple[Operator, ...]]
"""A space's method `operators`."""
REMEMBERED = 64


def traced_operators(
    model: nn.Module,
    groups: Iterable[Group],
    input_size: tuple[int, int, int],
    *,
    attention: Callable[[nn.Module], bool] | None = None,
) -> tuple[Operator, ...]:
    """Convolutions, linear layers, norms and attention of `model` in the order of execution, for images of (C, H, W).

    Widths are those of the groups whose slices are on a layer's axes. Depthwise convolutions count one input per
    output channel, grouped ones those of one of their groups. A layer that is called several times is one operator, and
    a weight that several layers share counts as the first one's. Works on the meta device too.

    Args:
        model: called in evaluation mode; its mode is restored.
        groups: whose slices are on its layers' axes.
        input_size: (C, H, W).
        attention: which modules are attention, with the two products of queries and tokens; None: those with
            `num_heads`.
    """
    axes, attends, owner = Axes(groups), attention or has_heads, _owners(model)
    found: dict[str, Operator] = {}
    hooks = [
        module.register_forward_hook(_reader(name, axes, found, attends, owner))
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) or attends(module)
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(torch.zeros(1, *input_size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found.values())


def remembered(operators: Traced) -> Traced:
    """`operators` that keeps its last results, by the space's class and `arch` and the images' size.

    A run asks for them at every stage, and a trace takes up to a second.
    """
    found: dict[tuple[type, str, tuple[int, ...]], tuple[Operator, ...]] = {}

    @wraps(operators)
    def kept(space: Any, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        key = type(space), repr(space.arch), tuple(input_size)
        if key not in found:
            made = operators(space, input_size)
            if len(found) >= REMEMBERED:
                found.pop(next(iter(found)))
            found[key] = made
        return found[key]

    return kept


def bare_parameters(model: nn.Module, groups: Iterable[Group]) -> tuple[Operator, ...]:
    """Parameters that no layer owns, such as position embeddings and class tokens: they cost memory alone.

    Raises ValueError for one of which groups have slices on more than two axes.
    """
    axes, owner = Axes(groups), _owners(model)
    return tuple(
        _bare(name, key, value, axes)
        for name, module in model.named_modules()
        if not isinstance(module, LAYERS)
        for key, value in module.named_parameters(recurse=False)
        if owner[id(value)] == name
    )


class Axes:
    """The slices of `groups` by module and axis."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.parts: dict[tuple[str, int], list[Part]] = {}
        for group in groups:
            for piece in group.slices:
                self.parts.setdefault((piece.module, piece.axis), []).append((group, piece))

    def on(self, module: str, axis: int) -> Sequence[Part]:
        """What stands on `axis` of the weight of `module`."""
        return [part for part in self.parts.get((module, axis), ()) if part[1].parameter in (None, "weight")]

    def width(self, module: str, axis: int, n: int) -> tuple[Width, int]:
        """The width of that axis, which has `n` entries, and a factor."""
        return axis_width(self.on(module, axis), n)


def _owners(model: nn.Module) -> dict[int, str]:
    """Parameter, by its identity -> the first module that has it."""
    found: dict[int, str] = {}
    for name, module in model.named_modules():
        for value in module.parameters(recurse=False):
            found.setdefault(id(value), name)
    return found


def _reader(
    name: str, axes: Axes, found: dict[str, Operator], attends: Callable[[nn.Module], bool], owner: Mapping[int, str]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        op = (
            _attention(name, module, args[0], axes)
            if attends(module)
            else _operator(name, module, (args[0], output), axes)
        )
        if (former := found.get(op.name)) is not None:
            op = replace(former, macs=former.macs + op.macs)
        elif any(owner[id(value)] != name for value in module.parameters(recurse=False)):
            op = replace(op, weights=0, biases=0)
        found[op.name] = op

    return hook


def has_heads(module: nn.Module) -> bool:
    """Whether it is attention: what the networks of spaces of their own call `num_heads`."""
    return hasattr(module, "num_heads")


def plain_heads(module: nn.Module) -> bool:
    """Whether it is attention that is known here, as of any network only timm's plain one is."""
    return has_heads(module) and plain_attention(module) is None


def uncounted(
    model: nn.Module, operators: Iterable[Operator], *, widths: Mapping[str, int], size: tuple[int, int, int]
) -> tuple[Operator, ...]:
    """One operator for what `operators` leave out of `model`, as attention of other kinds: a constant; none if nothing.

    MACs are those that PyTorch counts in a forward pass of an image of `size`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    macs = weights = 0
    for op in operators:
        n_in, n_out = width_at(op.n_in, widths), width_at(op.n_out, widths)
        macs += op.macs * n_in * n_out
        weights += op.weights * n_in * n_out + op.biases * n_out
    # Without values fused attention consists of its products, which PyTorch counts.
    with evaluating(model), FlopCounterMode(display=False) as counter:
        shapes_through(model, [torch.zeros(1, *size, device="meta")])
    more_macs = max(counter.get_total_flops() // 2 - macs, 0)
    more_weights = max(sum(value.numel() for value in model.parameters()) - weights, 0)
    if not more_macs and not more_weights:
        return ()
    return (Operator("others", "others", 1, 1, macs=more_macs, weights=more_weights),)


def _bare(module: str, key: str, value: Tensor, axes: Axes) -> Operator:
    name, weights, sides = f"{module}.{key}".lstrip("."), value.numel(), list[Width]()
    for axis, n in enumerate(value.shape):
        if parts := [part for part in axes.parts.get((module, axis), ()) if part[1].includes(key, value)]:
            width, factor = axis_width(parts, n)
            weights = weights // n * factor
            sides.append(width)
    if len(sides) > 2:
        raise ValueError(
            f"{name}: groups have slices on {len(sides)} axes; its parameters are no product of two widths"
        )
    n_out, n_in = (*sides, 1, 1)[:2]
    return Operator(name, "parameter", n_in, n_out, macs=0, weights=weights)


def _attention(name: str, module: Any, tokens: Tensor, axes: Axes) -> Operator:
    """Queries times keys and weights times values, of tokens [windows, n, C]; a pooling has queries of its own."""
    windows, n = tokens.shape[:2]
    n_queries, heads = getattr(module, "latent_len", n), module.num_heads
    # Not what `proj` reads: it may gather a part of the dimensions.
    own = module.qkv.out_features // (3 * heads) if hasattr(module, "qkv") else module.head_dim
    made = axes.on(f"{name}.qkv", 0)
    head: Width = made[0][0].name if made else own
    return Operator(f"{name}.products", "attention", 1, head, macs=2 * windows * n_queries * n * heads, weights=0)


def _operator(name: str, module: Any, ends: tuple[Tensor, Tensor], axes: Axes) -> Operator:
    """That of a layer which made the second of `ends` of the first."""
    if isinstance(module, nn.BatchNorm2d):
        n_out, rows = axes.width(name, 0, module.num_features)
        biases = rows * sum(value.numel() for value in module.parameters()) // module.num_features
        return Operator(name, "norm", 1, n_out, macs=0, weights=0, biases=biases)
    if isinstance(module, nn.LayerNorm):
        n = module.normalized_shape[-1]
        n_out, rows = axes.width(name, 0, n)
        return Operator(name, "norm", 1, n_out, macs=0, weights=rows * sum(p.numel() for p in module.parameters()) // n)
    weight, bias = module.weight, int(module.bias is not None)
    swapped = isinstance(module, nn.modules.conv._ConvTransposeNd) and weight.shape[1] > 1
    (n_out, rows), (n_in, columns) = (
        axes.width(name, axis, weight.shape[axis]) for axis in ((1, 0) if swapped else (0, 1))
    )
    entries = rows * columns
    if isinstance(module, nn.modules.conv._ConvNd):
        # Each pixel of what a transposed convolution reads meets its whole kernel.
        kernel, pixels = weight.shape[2:].numel(), ends[not module.transposed].shape[2:].numel()
        kind = "depthwise" if module.groups > 1 and n_in == 1 else "conv"
        return Operator(name, kind, n_in, n_out, kernel * pixels * entries, kernel * entries, bias * rows)
    n_tokens = ends[1].numel() // module.out_features  # of one image, whose windows may be the first dimension
    return Operator(name, "linear", n_in, n_out, macs=n_tokens * entries, weights=entries, biases=bias * rows)
