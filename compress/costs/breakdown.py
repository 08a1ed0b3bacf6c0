"""Every operator's costs side by side: by formula of the widths and counted on the network, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from torch import nn

from ..spaces import Group, Operator
from .counting import count_module_macs, macs, params

Part = Literal["attention_projections", "attention_products", "mlp", "layers", "norms", "classifier", "parameters"]
"""What an operator belongs to; `layers` are all other convolutions and linear layers."""

COSTS = {"params": params, "macs": macs}
PARTS_OF_KINDS: dict[str, Part] = {
    "attention": "attention_products",
    "norm": "norms",
    "parameter": "parameters",
    "shift": "parameters",
}
NOTHING = {cost: {"formula": 0, "counted": 0} for cost in COSTS}


@dataclass(frozen=True)
class Costed:
    """A network, and the operators and widths whose formulas give its costs."""

    network: nn.Module
    operators: Sequence[Operator]
    widths: Mapping[str, int]


def breakdown(
    before: Costed, after: Costed, *, groups: Iterable[Group], input_size: tuple[int, int, int]
) -> dict[str, Any]:
    """Parameters and MACs of each operator and of all, as the plain value of complexity.json (docs/formats.md).

    An operator that one of the networks has not costs nothing there.

    Args:
        before, after: the unpruned and the pruned network.
        groups: the space's: they say which layers are an MLP's.
        input_size: (C, H, W) of an image.

    Raises:
        RuntimeError: formula and count disagree, or a layer has no operator; the message names it.

    Example::

        operators = space.operators(size)
        full, sliced = Costed(network, operators, sizes(space.groups)), Costed(small, operators, plan.widths)
        breakdown(full, sliced, groups=space.groups, input_size=size)
    """
    operators = {op.name: op for op in (*before.operators, *after.operators)}
    parts = _parts(list(operators.values()), groups)
    costs = {side: _costs(network, input_size, side) for side, network in (("before", before), ("after", after))}
    rows = [
        {"name": name, "kind": op.kind, "part": parts[name]}
        | {cost: {side: found.get(name, NOTHING)[cost] for side, found in costs.items()} for cost in COSTS}
        for name, op in operators.items()
    ]
    totals = {
        cost: {
            side: {source: sum(values[cost][source] for values in found.values()) for source in NOTHING[cost]}
            for side, found in costs.items()
        }
        for cost in COSTS
    }
    return {"format": 1, "input_size": list(input_size), **totals, "operators": rows}


def _parts(operators: Sequence[Operator], groups: Iterable[Group]) -> dict[str, Part]:
    """Operator -> what it belongs to; the classifier is the linear layers behind everything else."""
    attention = {_module(op) for op in operators if op.kind == "attention"}
    mlp = {module for group in groups if group.kind == "mlp" for module in group.modules}
    layers = [op for op in operators if op.kind not in ("parameter", "shift")]
    last = {op.name for op in takewhile(lambda op: op.kind == "linear", reversed(layers))}

    def part(op: Operator) -> Part:
        if op.kind in PARTS_OF_KINDS:
            return PARTS_OF_KINDS[op.kind]
        if op.name.rpartition(".")[0] in attention:
            return "attention_projections"
        return "mlp" if op.name in mlp else "classifier" if op.name in last else "layers"

    return {op.name: part(op) for op in operators}


def _module(op: Operator) -> str:
    """The module that an operator's MACs are counted in: attention's products are computed by the module around."""
    return op.name.rpartition(".")[0] if op.kind == "attention" else op.name


def _costs(costed: Costed, input_size: tuple[int, int, int], side: str) -> dict[str, dict[str, dict[str, int]]]:
    """{operator: {cost: {"formula": n, "counted": n}}}; RuntimeError where they differ or something has no operator."""
    spent = count_module_macs(costed.network, input_size)
    sizes = {name: value.numel() for name, value in costed.network.named_parameters()}
    found = {}
    for op in costed.operators:
        own = [name for name in sizes if op.name in (name, name.rpartition(".")[0])]
        counted = {"params": sum(sizes.pop(name) for name in own), "macs": spent.pop(_module(op), 0)}
        found[op.name] = {
            cost: {"formula": formula([op], costed.widths), "counted": counted[cost]} for cost, formula in COSTS.items()
        }
        for cost, values in found[op.name].items():
            if values["formula"] != values["counted"]:
                raise RuntimeError(
                    f"{op.name}: {values['formula']:,} {cost} by formula, {values['counted']:,} counted on the network "
                    f"{side} slicing; both must be equal: the operators of its space are wrong"
                )
    for cost, left in (("params", sizes), ("macs", spent)):
        if left:
            name, n = next(iter(left.items()))
            raise RuntimeError(
                f"{name or 'the network itself'}: {n:,} {cost} counted on the network {side} slicing, and no operator "
                "of its space has them"
            )
    return found
