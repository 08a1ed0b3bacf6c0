"""From a plan to a smaller network: scores fold into weights, pruned channels leave the tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..plan import UserError, WidthPlan
from ..spaces import Group, Space, sizes

TINY = 1e-12
"""Scores below it are as good as zero: their squares leave the range of float32."""


def fold(model: nn.Module, space: Space, scores: Mapping[str, Tensor]) -> None:
    """Multiply the weights of every layer that reads a group by the group's scores, in place.

    The gated network and the folded one without gates compute the same function, because gates sit at readers' inputs,
    or, for attention, at the outputs of the layer that makes query, key and value.
    Where a BatchNorm follows the reader, the scores' common scale means nothing, but small weights would make every
    later training step large: there the scores are brought to root mean square 1, and the BatchNorm's statistics and
    scale take up the difference, exactly in evaluation mode.

    Example::

        fold(u, space, alphas.scores())
    """
    with torch.no_grad():
        for group in space.groups:
            if group.kind == "attention":
                qkv = model.get_submodule(group.outputs[0])
                assert isinstance(qkv, nn.Linear)
                alpha = scores[group.name].to(qkv.weight).repeat(group.row_copies)
                qkv.weight.mul_(alpha.unsqueeze(1))
                if qkv.bias is not None:
                    qkv.bias.mul_(alpha)
                continue
            for reader in group.inputs:
                weight = model.get_parameter(f"{reader}.weight")
                alpha = scores[group.name].to(weight)
                norm = space.normalised.get(reader)
                if norm is not None and bool(alpha.abs().max() > TINY):
                    size = alpha.square().mean().sqrt()
                    alpha = alpha / size
                    _rescale(model.get_submodule(norm), 1 / size)
                weight.mul_(alpha.view(1, -1, *[1] * (weight.dim() - 2)))


def _rescale(norm: nn.Module, factor: Tensor) -> None:
    """Make BatchNorm `norm`, fed `factor` times its old input, give its old output in evaluation mode."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    old = (var + norm.eps).sqrt()
    mean.mul_(factor)
    var.mul_(factor**2)
    # Without eps this would be 1.
    norm.weight.mul_((var + norm.eps).sqrt() / (factor * old))


def slice_state(state: Mapping[str, Tensor], groups: Iterable[Group], plan: WidthPlan) -> dict[str, Tensor]:
    """The state dict of the smaller network: rows of producers, columns of readers, BatchNorm statistics, gathers."""
    state = dict(state)
    for group in groups:
        kept = torch.tensor(plan.kept[group.name])
        if len(kept) in (0, group.size):
            continue
        rows, columns = (_repeated(kept, group.size, n) for n in (group.row_copies, group.column_copies))
        for module in group.outputs:
            _take(state, module, rows, axis=0)
            if group.kind == "attention":
                _scale_query(state, module, math.sqrt(len(kept) / group.size))
        for module in group.inputs:
            _take(state, module, columns, axis=1)
        if group.index is not None:
            state[group.index] = state[group.index][kept] if group.index in state else kept
    return state


def slice_model(model: nn.Module, space: Space, plan: WidthPlan) -> tuple[nn.Module, Space]:
    """A new network with the kept channels of `model` (unchanged, of `space`), and its space.

    Equals `model` with the pruned channels multiplied by zero at their readers' inputs. Training mode, device and dtype
    are kept. Raises UserError when `plan` was made for another network.

    Example::

        small, small_space = slice_model(model, space, plan)
    """
    plan.check_fits(sizes(space.groups))
    if emptied := [g.name for g in space.groups if not plan.kept[g.name] and g.block is None]:
        raise UserError(f"plan: nothing kept of {emptied[:3]}, which no shortcut passes by; keep at least one channel")
    small_space = space.with_widths(plan.widths)
    like = next(model.parameters())
    small = small_space.empty().to(like.dtype)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    state = slice_state(state, space.groups, plan)
    for group in space.groups:
        if group.block is not None and not plan.kept[group.name]:
            norm = model.get_submodule(f"{group.block}.bn3")
            assert isinstance(norm, nn.BatchNorm2d)
            _collapse(state, f"{group.block}.", norm.eps)
    small.load_state_dict(state)
    return small.to(like.device).train(model.training), small_space


def _collapse(state: dict[str, Tensor], block: str, eps: float) -> None:
    """Leave of a residual block that adds a constant only that constant: what its last BatchNorm makes of zeros."""
    parts = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, var = (state[f"{block}bn3.{part}"] for part in parts)
    constant = bias - mean * weight / (var + eps).sqrt()
    for name in [name for name in state if name.startswith(block)]:
        del state[name]
    state[f"{block}bias"] = constant


def _repeated(kept: Tensor, size: int, copies: int) -> Tensor:
    """Indices of the kept channels in a layout of [copies, size]."""
    return (torch.arange(copies)[:, None] * size + kept).flatten()


def _scale_query(state: dict[str, Tensor], module: str, factor: float) -> None:
    """Multiply the first third of the rows: a smaller head divides its logits by the root of its own dimension."""
    for name in (f"{module}.weight", f"{module}.bias"):
        if name in state:
            value = state[name].clone()
            value[: len(value) // 3] *= factor
            state[name] = value


def _take(state: dict[str, Tensor], module: str, kept: Tensor, *, axis: int) -> None:
    """Index the tensors of `module` that have `axis`: for rows all but counters and gathers, for columns the weight."""
    for name in [n for n in state if n.rpartition(".")[0] == module]:
        if state[name].dim() > axis and state[name].is_floating_point():
            state[name] = state[name].index_select(axis, kept)
