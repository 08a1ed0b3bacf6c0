"""Networks that a user hands over alive: what they must be, and copies of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..plan.tensors import check_finite
from .shapes import evaluating

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def check_given(network: Any, *, argument: str = "model") -> None:
    """UserError unless `network` is a plain nn.Module of finite float32 parameters, which every step here wants.

    Args:
        network: what was given.
        argument: as the user calls it, for the message.

    Example::

        check_given(network, argument="network")
    """
    source = f"{argument} = {kind_of(network)}"
    if fault := _foreign(network):
        raise UserError(f"{source}: {fault}")
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(value):
            raise UserError(f"{source}: {name} has no shape yet; call the network once, then give it")
        if value.is_meta:
            raise UserError(
                f"{source}: {name} has no values (it is on the meta device); load the weights, then give it"
            )
    for name, value in network.named_parameters():
        if (value.is_floating_point() or value.is_complex()) and value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            remedy = "give a network of real numbers" if value.is_complex() else "give model.float()"
            raise UserError(f"{source}: {name} is {kind}; its parameters must be float32; {remedy}")
        check_finite(name, value.detach(), source=source, remedy="give weights from before training diverged")
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{source}: {name} of its state dict is a {kind_of(value)}; must be a tensor, or leave it out of what "
                "state_dict and get_extra_state give"
            )


def check_returned(network: nn.Module, *, source: str) -> None:
    """UserError where `train()` of `network`, which begins a message as `source`, gives anything but the network.

    Example::

        check_returned(network, source="model = MyNet")
    """
    with evaluating(network):
        given = network.eval()
    if given is not network:
        raise UserError(f"{source}: its train() gives {kind_of(given)}; end it with return self, as nn.Module's does")


def copied(network: nn.Module, *, argument: str = "model") -> nn.Module:
    """A copy of `network`; UserError where Python cannot make one."""
    try:
        return deepcopy(network)
    except FAULTS as error:
        raise UserError(
            f"{argument} = {kind_of(network)}: cannot be copied ({reason(error)}); keep locks, open files and tensors "
            "with a history out of it (call torch.nn.utils.prune.remove, and use torch.nn.utils.parametrizations in "
            "place of the older weight_norm)"
        ) from error


def kind_of(value: Any) -> str:
    """How messages call `value`: by its class."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _foreign(network: Any) -> str | None:
    """Why `network` is no module whose layers can be changed, and what helps; None: it is one."""
    if isinstance(network, type) and issubclass(network, nn.Module):
        return f"must be an nn.Module; give a network of this class: {network.__name__}(...)"
    if not isinstance(network, nn.Module):
        return "must be an nn.Module"
    if isinstance(network, torch.jit.ScriptModule):
        return "must be an nn.Module in Python; give the network that was scripted or traced"
    if isinstance(network, PARALLEL):
        return "must be the network itself; give its .module"
    if hasattr(network, "_orig_mod"):
        return "must be the network itself; give the one that torch.compile was given"
    return None
