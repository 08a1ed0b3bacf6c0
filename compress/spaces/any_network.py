"""Any network: built by its constructor, with groups that were found by tracing it and verified on it.

The groups are data, kept in the card beside the weights, so that a sliced network loads without being traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..plan import UserError, brief
from ..plan.errors import FAULTS, reason
from .arguments import check_ends, check_flag, check_widths
from .axes import resized
from .base import WidthSpace
from .blocks import narrow_heads
from .constructors import GIVEN, check_constructor, construct
from .given import copied, kind_of
from .groups import Group
from .narrowing import narrow
from .operators import Operator
from .stored_groups import check_slices, read_found
from .traced import bare_parameters, plain_heads, traced_operators, uncounted


@dataclass(frozen=True)
class TracedSpace(WidthSpace):
    """A network that `model` names: timm's `resnet50`, `torchvision:resnet18`, or the user's `my_net.py:make`.

    Args:
        num_classes: outputs.
        model: as `constructors` says.
        in_channels: of the images.
        options: more arguments of the constructor, plain values.
        ignored: names of modules that keep all their channels, with all inside.
        streams: residual streams, which several layers add to, are scored too.
        found: what tracing found (`tracing.traced` fills it in); {}: nothing is scored.
        widths: groups that are narrower than in the original.

    Raises UserError for a model that is in no list, arguments that are not plain, groups that the network has not, and
    widths out of range.

    Example::

        space = traced(TracedSpace(num_classes=10, model="resnet50"), input_size=(3, 224, 224))
        small = space.with_widths({"layer1.0.conv1": 30}).build()
    """

    num_classes: int
    model: str
    in_channels: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    streams: bool = True
    found: Mapping[str, Any] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "traced"
    choices: ClassVar[tuple[str, ...]] = ("ignored", "streams")

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", check_constructor(self.model, self.options))
        check_ends(self.num_classes, self.in_channels)
        check_flag("streams", self.streams)
        if not isinstance(self.ignored, list | tuple) or not all(isinstance(each, str) for each in self.ignored):
            raise UserError(f"space.ignored = {brief(self.ignored)}: must be names of modules; for example ['stem']")
        object.__setattr__(self, "ignored", tuple(self.ignored))
        check_widths(self.widths, {group.name: (1, group.size) for group in self.all_groups}, network=self.model)

    @cached_property
    def _found(self) -> dict[str, Any]:
        if not self.found:
            return {"groups": (), "left": {}, "outputs": [], "normalised": {}}
        return read_found(self.found, source="space.found")

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Every exact group of the unpruned network, whether it is scored or not."""
        groups: tuple[Group, ...] = self._found["groups"]
        return groups

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network."""
        return tuple(group for group in self.all_groups if self._scored(group))

    @property
    def groups(self) -> tuple[Group, ...]:
        """The scored groups at the present widths."""
        return tuple(group for group in resized(self.all_groups, self.widths) if self._scored(group))

    def _scored(self, group: Group) -> bool:
        kept = self.ignored
        return (self.streams or group.kind != "stream") and not any(
            piece.module == name or piece.module.startswith(f"{name}.") for piece in group.writes for name in kept
        )

    @property
    def left(self) -> dict[str, str]:
        """{what is left alone: why}."""
        return dict(self._found["left"])

    @property
    def arch(self) -> dict[str, Any]:
        """Plain keyword arguments that rebuild this space."""
        return {**super().arch, "ignored": list(self.ignored)}

    @property
    def normalised(self) -> Mapping[str, str]:
        """As the trace shows."""
        found: Mapping[str, str] = self._found["normalised"]
        return found

    @property
    def classifier(self) -> tuple[str, ...]:
        """The layers whose rows are outputs of the network."""
        return tuple(self._found["outputs"])

    def build(self) -> nn.Module:
        """A freshly initialised network of this space's widths, drawn from the global random generator."""
        return self.narrowed(self._make())

    def empty(self) -> nn.Module:
        """A network whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    def _make(self) -> nn.Module:
        if self.model == GIVEN:
            raise UserError(
                "space.model = 'given': this network was handed over alive, so nothing here says how it is made; give "
                "a fresh one of its class: load(..., network=...)"
            )
        return construct(self.model, self.options, num_classes=self.num_classes, in_channels=self.in_channels)

    def check_trained(self, input_size: tuple[int, int, int]) -> None:
        """UserError where its network gives, in training, anything but logits of images of (C, H, W)."""
        source, network = f"space.model = {self.model!r}", self.empty().train()
        try:
            with torch.random.fork_rng(devices=[]):
                outputs = network(torch.zeros(2, *input_size))
        except FAULTS as error:
            raise UserError(f"{source}: does not run in training ({reason(error)}); mend its code") from error
        if not isinstance(outputs, Tensor) or outputs.shape != (2, self.num_classes) or not outputs.requires_grad:
            given = f"{list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {kind_of(outputs)}"
            raise UserError(
                f"{source}: gives {given} for two images in training; must be the logits of all classes, [2, "
                f"{self.num_classes}], with their gradients; mend its code, or make it without what is for training"
            )

    def narrowed(self, network: nn.Module) -> nn.Module:
        """`network`, at full width, brought to this space's widths in place. UserError for another network."""
        groups = self.all_groups
        if any(self.widths.get(group.name, group.size) != group.size for group in groups):
            name = f"network = {kind_of(network)}" if self.model == GIVEN else f"space.model = {self.model!r}"
            check_slices(network, groups, source=name)
            narrow(network, groups, self.widths)
            narrow_heads(network, groups, self.widths)
        return network

    def of(self, network: nn.Module) -> LiveSpace:
        """This space with copies of `network`, at full width, in place of what `model` makes."""
        values = {each.name: getattr(self, each.name) for each in fields(TracedSpace)}
        return LiveSpace(**values, make=lambda: copied(network, argument="network"))

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """Convolutions, linear layers and norms in forward order, then bare parameters, for images of (C, H, W).

        UserError for a network that does not take one such image.
        """
        if input_size not in self._operators:
            network = self.empty()
            found = self._traced(network, input_size) + bare_parameters(network, self.groups)
            self._operators[input_size] = found + uncounted(network, found, widths=self._full_widths, size=input_size)
        return self._operators[input_size]

    def _traced(self, network: nn.Module, size: tuple[int, int, int]) -> tuple[Operator, ...]:
        try:
            return traced_operators(network, self.groups, size, attention=plain_heads)
        except FAULTS as error:
            raise UserError(
                f"model = {kind_of(network)}: does not run on one image of {' x '.join(map(str, size))}, as MACs are "
                f"counted ({reason(error)}); give a network that takes any number of images"
            ) from error

    @cached_property
    def _operators(self) -> dict[tuple[int, int, int], tuple[Operator, ...]]:
        return {}

    @property
    def _full_widths(self) -> dict[str, int]:
        return {group.name: group.size for group in self.groups}


@dataclass(frozen=True)
class LiveSpace(TracedSpace):
    """A traced space whose network is made by `make`, which copies a live one; its card says `given`."""

    make: Callable[[], nn.Module] = field(kw_only=True, compare=False, repr=False)

    @property
    def arch(self) -> dict[str, Any]:
        """As that of a traced space, without the network itself."""
        return {name: value for name, value in super().arch.items() if name != "make"}

    def _make(self) -> nn.Module:
        return self.make()
