"""From a plan to a smaller network: pruned channels leave the tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import UserError, WidthPlan
from ..plan.errors import reason
from ..spaces import Group, Rest, Space, check_whole_blocks, constant_of, kind_of, own_surroundings, removed, sizes


def slice_state(state: Mapping[str, Tensor], groups: Iterable[Group], plan: WidthPlan) -> dict[str, Tensor]:
    """The state dict of the smaller network: rows of producers, columns of readers, BatchNorm statistics, gathers.

    Each axis is cut once, of the channels that all groups on it lose.
    """
    state = dict(state)
    by_module: dict[str, list[tuple[str, str]]] = {}
    for name in state:
        module, _, parameter = name.rpartition(".")
        by_module.setdefault(module, []).append((name, parameter))
    lost: dict[tuple[str, int], list[Tensor]] = {}
    for group in groups:
        kept = plan.kept[group.name]
        if len(kept) in (0, group.size):
            continue
        gone = sorted(set(range(group.size)).difference(kept))
        for piece in group.slices:
            for name, parameter in by_module.get(piece.module, ()):
                if piece.includes(parameter, state[name]):
                    lost.setdefault((name, piece.axis), []).append(piece.layout.positions(gone, group.size))
                    if piece.exponent:
                        own = piece.layout.positions(kept, group.size)
                        scale = (len(kept) / group.size) ** piece.exponent
                        state[name] = _scaled(state[name], piece.axis, own, scale)
        if group.index is not None:
            index = torch.tensor(kept)
            state[group.index] = state[group.index][index] if group.index in state else index
    for (name, axis), positions in lost.items():
        left = torch.ones(state[name].shape[axis], dtype=torch.bool).index_fill(0, torch.cat(positions), False)
        state[name] = state[name].index_select(axis, left.nonzero().flatten())
    return state


def _scaled(tensor: Tensor, axis: int, positions: Tensor, factor: float) -> Tensor:
    """`tensor` with its entries at `positions` of `axis` multiplied by `factor`."""
    return tensor.index_copy(axis, positions, tensor.index_select(axis, positions) * factor)


@own_surroundings()
def slice_model(model: nn.Module, space: Space, plan: WidthPlan) -> tuple[nn.Module, Space]:
    """A new network with the kept channels of `model` (unchanged, of `space`), and its space.

    Equals `model` with the pruned channels multiplied by zero at their readers' inputs. Training mode, device and dtype
    are kept. Raises UserError when `plan` or `space` was made for another network.

    Example::

        small, small_space = slice_model(model, space, plan)
    """
    _check_parts(model, space, plan)
    plan.check_fits(sizes(space.groups))
    if emptied := [g.name for g in space.groups if not plan.kept[g.name] and g.rest is None]:
        raise UserError(f"plan: nothing kept of {emptied[:3]}, which no shortcut passes by; keep at least one channel")
    check_whole_blocks(space.groups, plan.widths, source="plan")
    small_space = space.with_widths(plan.widths)
    like = next(model.parameters())
    small = small_space.empty().to(like.dtype)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    state = slice_state(state, space.groups, plan)
    for rest in removed(space.groups, plan.widths):
        _collapse(state, rest, model)
    try:
        small.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"model = {kind_of(model)}: is no network of this space ({reason(error)}); give its own space"
        ) from error
    return small.to(like.device).train(model.training), small_space


def _check_parts(model: Any, space: Any, plan: Any) -> None:
    """UserError for what is no network with weights, no space and no plan."""
    if not isinstance(model, nn.Module) or any(value.is_meta for value in model.parameters()):
        raise UserError(f"model = {kind_of(model)}: must be an nn.Module with weights")
    if not hasattr(space, "with_widths"):
        raise UserError(f"space = {kind_of(space)}: must be a space, as compress.score gives it")
    if not isinstance(plan, WidthPlan):
        raise UserError(f"plan = {kind_of(plan)}: must be a WidthPlan, as compress.select gives it")


def _collapse(state: dict[str, Tensor], rest: Rest, model: nn.Module) -> None:
    """Leave of a residual block what it adds without its channels: a constant, or nothing."""
    constant = None if rest.bias is None else constant_of(model, state, rest)
    for name in [name for name in state if rest.holds(name)]:
        del state[name]
    if rest.bias is not None and constant is not None:
        state[rest.bias] = constant
