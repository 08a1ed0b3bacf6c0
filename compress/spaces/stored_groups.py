"""Groups as plain values: what a card holds of a network whose groups were found by tracing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from torch import nn
from typing_extensions import TypedDict

from ..plan import UserError, check_stored
from ..plan.kinds import Name, Text
from .groups import PLAIN, Group, Layout, Slice
from .narrowing import size_attribute

MOST_ENTRIES = 1 << 24
Whole = Annotated[int, Ge(0), Le(MOST_ENTRIES)]
Several = Annotated[int, Ge(1), Le(MOST_ENTRIES)]


class StoredSlice(TypedDict):
    """A `Slice`; what is not said is as in a plain layout."""

    module: Text
    axis: Annotated[int, Ge(0), Le(7)]
    parameter: NotRequired[Name]
    offset: NotRequired[Whole]
    copies: NotRequired[Several]
    stride: NotRequired[Several]
    inner: NotRequired[Several]
    exponent: NotRequired[Annotated[float, Ge(-2), Le(2)]]


class StoredGroup(TypedDict):
    """A `Group`."""

    name: Name
    size: Several
    writes: Annotated[list[StoredSlice], MaxLen(100_000)]
    reads: Annotated[list[StoredSlice], MinLen(1), MaxLen(100_000)]
    gated: NotRequired[Literal["reads", "writes"]]
    kind: NotRequired[Literal["channels", "attention", "mlp", "stream"]]


class StoredGroups(TypedDict):
    """What tracing found: exact groups, {what is left alone: why}, output layers, and {layer: its own BatchNorm}."""

    groups: Annotated[list[StoredGroup], MaxLen(100_000)]
    left: dict[Text, Text]
    outputs: list[Text]
    normalised: dict[Text, Text]


def group_values(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """`groups` as plain values, defaults left out."""
    return [
        {
            "name": group.name,
            "size": group.size,
            "writes": [_slice_values(piece) for piece in group.writes],
            "reads": [_slice_values(piece) for piece in group.reads],
            **({"gated": group.gated} if group.gated != "reads" else {}),
            **({"kind": group.kind} if group.kind != "channels" else {}),
        }
        for group in groups
    ]


def _slice_values(piece: Slice) -> dict[str, Any]:
    layout = {key: value for key, value in asdict(piece.layout).items() if value != getattr(PLAIN, key)}
    more = {"parameter": piece.parameter, "exponent": piece.exponent or None}
    return {
        "module": piece.module,
        "axis": piece.axis,
        **layout,
        **{key: value for key, value in more.items() if value is not None},
    }


def read_found(found: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """`found` with `Group`s for stored groups; UserError, beginning with `source`, for values of another shape."""
    checked = check_stored(found, StoredGroups, source=source, remedy="trace the network again")
    return {**checked, "groups": tuple(_group(each) for each in checked["groups"])}


def _group(value: StoredGroup) -> Group:
    writes, reads = (tuple(_slice(piece) for piece in value[side]) for side in ("writes", "reads"))
    return Group(
        value["name"],
        value["size"],
        writes,
        reads,
        gated=value.get("gated", "reads"),
        kind=value.get("kind", "channels"),
    )


def _slice(value: StoredSlice) -> Slice:
    layout = Layout(value.get("offset", 0), value.get("copies", 1), value.get("stride"), value.get("inner", 1))
    return Slice(value["module"], value["axis"], layout, value.get("parameter"), value.get("exponent", 0.0))


def check_slices(network: nn.Module, groups: Iterable[Group], *, source: str) -> None:
    """UserError, beginning with `source`, unless every slice lies on a tensor of `network` that has its entries."""
    modules = dict(network.named_modules())
    for group in groups:
        for piece in group.slices:
            module = modules.get(piece.module)
            tensors = [] if module is None else [*module.named_parameters(recurse=False)]
            if module is not None:
                tensors += module.named_buffers(recurse=False)
            lengths = [value.shape[piece.axis] for name, value in tensors if piece.includes(name, value)]
            if not lengths and module is not None and (size := size_attribute(module, piece.axis)):
                lengths = [getattr(module, size)]  # of a norm without tensors
            layout = piece.layout
            last = layout.starts(group.size)[-1] + group.size * layout.inner
            if not lengths or any(last > length for length in lengths) or layout.copies > MOST_ENTRIES:
                raise UserError(
                    f"{source}: group {group.name!r} has channels on axis {piece.axis} of {piece.module!r}, which this "
                    "network has not; it was traced on another one: trace this one"
                )
