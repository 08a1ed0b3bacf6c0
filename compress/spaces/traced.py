"""For networks built by a library: operators read off a forward pass, and layers replaced by narrower ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .base import Group, Operator, Width


def traced_operators(
    model: nn.Module, groups: Iterable[Group], input_size: tuple[int, int, int]
) -> tuple[Operator, ...]:
    """Convolutions, linear layers, norms and attention of `model` in the order of execution, for images of (C, H, W).

    Widths that belong to a group are named after it. Depthwise convolutions count one input per output channel. A
    module with `num_heads` counts as attention: the two products of queries and tokens. Works on the meta device too.
    """
    groups = tuple(groups)
    writes = {module: group for group in groups for module in group.outputs}
    reads = {module: group for group in groups for module in group.inputs}
    found: list[Operator] = []
    hooks = [
        module.register_forward_hook(_reader(name, writes, reads, found))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm) or hasattr(module, "num_heads")
    ]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_size, device=next(model.parameters()).device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return tuple(found)


def bare_parameters(model: nn.Module) -> tuple[Operator, ...]:
    """Parameters that no layer owns, such as position embeddings and class tokens: they cost memory alone."""
    layers = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm
    return tuple(
        Operator(f"{name}.{key}".lstrip("."), "parameter", 1, 1, macs=0, weights=value.numel())
        for name, module in model.named_modules()
        if not isinstance(module, layers)
        for key, value in module.named_parameters(recurse=False)
    )


def _reader(name: str, writes: Mapping[str, Group], reads: Mapping[str, Group], found: list[Operator]):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if hasattr(module, "num_heads"):
            found.append(_attention(name, module, args[0], writes.get(f"{name}.qkv")))
        else:
            found.append(_operator(name, module, output, writes.get(name), reads.get(name)))

    return hook


def _attention(name: str, module: Any, tokens: Tensor, group: Group | None) -> Operator:
    """Queries times keys and weights times values, of tokens [windows, n, C]; a pooling has queries of its own."""
    windows, n = tokens.shape[:2]
    n_queries, heads = getattr(module, "latent_len", n), module.num_heads
    # Not what `proj` reads: it may gather a part of the dimensions.
    own = module.qkv.out_features // (3 * heads) if hasattr(module, "qkv") else module.head_dim
    head: Width = group.name if group else own
    return Operator(f"{name}.products", "attention", 1, head, macs=2 * windows * n_queries * n * heads, weights=0)


def _operator(name: str, module: nn.Module, output: Tensor, writes: Group | None, reads: Group | None) -> Operator:
    out, into = writes and writes.name, reads and reads.name
    if isinstance(module, nn.BatchNorm2d):
        return Operator(name, "norm", 1, out or module.num_features, macs=0, weights=0, biases=2)
    if isinstance(module, nn.LayerNorm):
        n_parameters = sum(p.numel() for p in module.parameters())
        return Operator(name, "norm", 1, module.normalized_shape[-1], 0, n_parameters // module.normalized_shape[-1])
    if isinstance(module, nn.Conv2d):
        kernel, pixels = module.kernel_size[0] * module.kernel_size[1], output.shape[-2] * output.shape[-1]
        n_out: Width = out or module.out_channels
        depthwise = module.groups > 1
        n_in: Width = 1 if depthwise else into or module.in_channels
        bias = int(module.bias is not None)
        kind = "depthwise" if depthwise else "conv"
        return Operator(name, kind, n_in, n_out, macs=kernel * pixels, weights=kernel, biases=bias)
    assert isinstance(module, nn.Linear)
    bias = int(module.bias is not None)
    n_tokens = output.numel() // module.out_features  # of one image, whose windows may be the first dimension
    rows, columns = writes.row_copies if writes else 1, reads.column_copies if reads else 1
    copies = rows * columns
    n_in, n_out = into or module.in_features, out or module.out_features
    return Operator(name, "linear", n_in, n_out, macs=n_tokens * copies, weights=copies, biases=bias * rows)


def narrow(model: nn.Module, groups: Iterable[Group], widths: Mapping[str, int]) -> None:
    """Give every layer of `model` that writes or reads a group the width in `widths`, in place; weights are new."""
    for group in groups:
        width = widths.get(group.name, group.size)
        if width == group.size:
            continue
        for name in group.outputs:
            _resize_rows(model.get_submodule(name), width * group.row_copies)
        for name in group.inputs:
            _resize_columns(model.get_submodule(name), width * group.column_copies)


def _resize_rows(module: nn.Module, width: int) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = width
        for name in ("weight", "bias"):
            setattr(module, name, nn.Parameter(getattr(module, name)[:width].detach().clone()))
        for name in ("running_mean", "running_var"):
            module.register_buffer(name, getattr(module, name)[:width].clone())
        return
    assert isinstance(module, nn.Conv2d | nn.Linear)
    if isinstance(module, nn.Linear):
        module.out_features = width
    else:
        if module.groups > 1:
            module.groups = module.in_channels = width
        module.out_channels = width
    _set_weight(module, module.weight[:width])
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias[:width].detach().clone())


def _resize_columns(module: nn.Module, width: int) -> None:
    if isinstance(module, nn.Linear):
        module.in_features = width
    else:
        assert isinstance(module, nn.Conv2d)
        module.in_channels = width
    _set_weight(module, module.weight[:, :width])


def _set_weight(module: nn.Conv2d | nn.Linear, weight: Tensor) -> None:
    module.weight = nn.Parameter(weight.detach().clone())
