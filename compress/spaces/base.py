"""What a search space is: a network that can be rebuilt at any widths, its scored groups, and its operators."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from torch import nn

from .axes import resized
from .groups import Group
from .operators import Operator
from .removal import without_removed

if TYPE_CHECKING:
    from .checkpoint import Card


InputSize = tuple[int, int] | Literal["any"]
"""(height, width) in pixels of what an exported network takes."""


class Space(Protocol):
    """A network family: rebuilds its network from plain values and names its groups and operators."""

    name: ClassVar[str]
    choices: ClassVar[tuple[str, ...]]
    """Arguments that do not change the network, such as what is scored: a recipe may give others than a checkpoint."""
    carried: ClassVar[tuple[str, ...]]
    """Arguments that a checkpoint of ours gives where the recipe does not, such as the genotype that a search found."""
    timed_batch: ClassVar[int | None]
    """The only number of images that `timed` takes; None: any."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The scored groups, in forward order, at the present widths."""

    @property
    def arch(self) -> dict[str, Any]:
        """JSON-able keyword arguments that rebuild this space's network."""

    @property
    def normalised(self) -> Mapping[str, str]:
        """Layer without a bias -> the BatchNorm that alone takes its output, so that the layer's scale is free."""

    @property
    def classifier(self) -> tuple[str, ...]:
        """The layers whose rows are the classes: one, or two where a distillation token has its own."""

    def build(self) -> nn.Module:
        """A freshly initialised network of this space's widths, drawn from the global random generator.

        Nothing else of a space draws from it or sets it.
        """

    def empty(self) -> nn.Module:
        """A network of this space's widths whose weights are yet to be loaded."""

    def with_widths(self, widths: Mapping[str, int]) -> Space:
        """The space of the network sliced to `widths` (groups not named keep their width)."""

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """The layers with parameters, in forward order, for images of (C, H, W)."""

    def timed(self, network: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
        """What of `network`, one of this space, is timed: [B, C, H, W] -> [B, N]; layers keep their names.

        What it gives depends on every layer, so that equal outputs mean equal networks and no engine leaves one out.
        """

    def export(
        self, network: nn.Module, card: Card, path: Path, *, input_size: InputSize | None, plugin_free: bool, batch: int
    ) -> list[Path] | None:
        """Write `network` as ONNX files of its own kind, the first at `path`; None: it is exported as classifiers are.

        Args:
            network: one of this space.
            card: its card.
            path: the first file.
            input_size: of the images; None: what the card says.
            plugin_free: for TensorRT.
            batch: number of images of one call.
        """

    def export_int8(
        self, network: nn.Module, card: Card, path: Path, *, data: Any, images: int, seed: int, config: Any
    ) -> dict[Path, int] | None:
        """Write `network` in 8-bit integers as ONNX files of its own kind, the first at `path`: {file: images that
        ranges were measured on}. None: as classifiers are.

        Args:
            network: one of this space.
            card: its card.
            path: the first file.
            data: what it was trained on.
            images: how many training images ranges are measured on.
            seed: of their choice.
            config: an `Int8Config`.
        """

    def check_trained(self, input_size: tuple[int, int, int]) -> None:
        """UserError where its network cannot be trained on images of (C, H, W) because of what training alone has."""


class WidthSpace:
    """What spaces share that are frozen dataclasses, a field `widths` {group: width} among their fields.

    A space of this kind has `full_groups`, those of the unpruned network; `widths` holds those that differ.
    """

    choices: ClassVar[tuple[str, ...]] = ()
    carried: ClassVar[tuple[str, ...]] = ()
    timed_batch: ClassVar[int | None] = None
    widths: Mapping[str, int]

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network, in forward order."""
        raise NotImplementedError

    @property
    def groups(self) -> tuple[Group, ...]:
        """The scored groups, in forward order, at the present widths; removed blocks have none."""
        return without_removed(resized(self.full_groups, self.widths))

    @property
    def arch(self) -> dict[str, Any]:
        """Plain keyword arguments that rebuild this space."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    @property
    def normalised(self) -> Mapping[str, str]:
        """No layer feeds a BatchNorm alone, unless the space says so."""
        return {}

    def timed(self, network: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
        """All of it, unless the space says otherwise."""
        return network

    def export(self, network: nn.Module, card: Card, path: Path, **options: Any) -> list[Path] | None:
        """As a classifier, unless the space says otherwise."""
        return None

    def export_int8(self, network: nn.Module, card: Card, path: Path, **options: Any) -> dict[Path, int] | None:
        """As a classifier, unless the space says otherwise."""
        return None

    def check_trained(self, input_size: tuple[int, int, int]) -> None:
        """Nothing is in the training alone, unless the space says so."""

    def with_widths(self, widths: Mapping[str, int]) -> Self:
        """This space with `widths` in place of the present ones for the groups they name."""
        return replace(self, widths={**self.widths, **widths})  # type: ignore[type-var]


def _plain(value: Any) -> Any:
    return deepcopy(dict(value)) if isinstance(value, Mapping) else value
