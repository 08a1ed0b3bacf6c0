"""Passes of a network as it is, before anything is believed of it: does it run, on what, and which layers does it call.

Groups are verified on an example. What other images would make the network do must not differ from it: its forward
pass may not ask for values, and no layer may wait for training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..spaces import kind_of, shapes_through


def checked_example(given: Any) -> tuple[Any, ...]:
    """The arguments of a forward pass, on the CPU; UserError for what holds no tensor, or an empty one."""
    example = given if isinstance(given, tuple) else (given,)
    tensors = [value for value in tree_leaves(example) if isinstance(value, Tensor)]
    if not tensors or any(value.is_meta or not value.numel() for value in tensors):
        raise UserError(
            f"{_shown(example)}: must be a tensor with values and no axis of length 0, or a tuple of all arguments; "
            "for example torch.randn(1, 3, 224, 224)"
        ).of("example_input")
    # A copy: tensors made in inference mode take no part in gradients.
    moved: tuple[Any, ...] = tree_map(lambda x: x.detach().cpu().clone() if isinstance(x, Tensor) else x, example)
    return moved


def shared_layers(model: nn.Module, example: tuple[Any, ...]) -> dict[str, str]:
    """{layer with weights: why its channels are not its own}: it is called several times, or another one's are its.

    Args:
        model: in evaluation mode.
        example: what it is called with.

    Raises UserError for an example that it does not take, outputs without tensors, a forward pass that asks for values
    of what it computes, and layers that are called in training mode alone.
    """
    source = f"model = {kind_of(model)}"
    try:
        calls, outputs = _calls(model, lambda: shapes_through(model, example))
    except FAULTS as error:
        _run(model, example)
        raise UserError(
            f"{source}: its forward pass asks for values of what it computes ({reason(error)}), so for other images it "
            "may do something else; compute without if, .item(), .tolist() and .numpy() on them, as with torch.where"
        ) from None
    _check_outputs(model, outputs)
    if late := _in_training_alone(model, example, calls):
        raise UserError(
            f"{source}: {late} is called in training mode alone, where masked and sliced are not compared; make the "
            "network without its auxiliary heads"
        )
    return _tied(model) | {name: f"{name} is called more than once" for name, n in calls.items() if n > 1}


def _run(model: nn.Module, example: tuple[Any, ...]) -> None:
    """UserError where `model` does not take `example`."""
    try:
        with torch.no_grad():
            outputs = model(*example)
    except FAULTS as error:
        raise UserError(
            f"{_shown(example)}: {kind_of(model)} does not take it ({reason(error)}); give what it is called with"
        ).of("example_input") from None
    _check_outputs(model, outputs)


def _check_outputs(model: nn.Module, outputs: Any) -> None:
    if not any(isinstance(value, Tensor) for value in tree_leaves(outputs)):
        raise UserError(
            f"model = {kind_of(model)}: gives a {kind_of(outputs)}; its outputs must be tensors, or tuples, lists or "
            "dicts of them; wrap it in a module that gives such"
        )


def _in_training_alone(model: nn.Module, example: tuple[Any, ...], calls: Collection[str]) -> str | None:
    """A layer that a training pass without values calls, and that is not among `calls`.

    None where there is none, and where the network wants something else in training.
    """
    if all(name in calls for name, module in model.named_modules() if _weighted(module)):
        return None
    # A BatchNorm of one sample refuses to train.
    twice = tree_map(lambda x: torch.cat((x, x)) if isinstance(x, Tensor) and x.dim() else x, example)
    try:
        model.train()
        trained, _ = _calls(model, lambda: shapes_through(model, twice))
    except FAULTS:
        return None
    finally:
        model.eval()
    return min((name for name in trained if name not in calls), default=None)


def _weighted(module: nn.Module) -> bool:
    """Whether it has parameters of its own."""
    return next(module.parameters(recurse=False), None) is not None


def _calls(model: nn.Module, run: Callable[[], Any]) -> tuple[dict[str, int], Any]:
    """{layer with weights: how often `run` calls it}, of those that it calls, and what `run` gives."""
    calls: dict[str, int] = {}
    handles = []
    for name, module in model.named_modules():
        if _weighted(module):

            def count(*_: Any, name: str = name) -> None:
                calls[name] = calls.get(name, 0) + 1

            handles.append(module.register_forward_pre_hook(count))
    try:
        return calls, run()
    finally:
        for handle in handles:
            handle.remove()


def _tied(model: nn.Module) -> dict[str, str]:
    """{layer: why} of those that have a parameter in common."""
    names: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return {
        name.rpartition(".")[0]: f"{name} is {next(other for other in several if other != name)} too"
        for several in names.values()
        if len(several) > 1
        for name in several
    }


def _shown(example: tuple[Any, ...]) -> str:
    parts = [str(tuple(value.shape)) if isinstance(value, Tensor) else kind_of(value) for value in example]
    return ", ".join(parts) or "()"
