"""What a search space is: a network that can be rebuilt at any widths, its scored groups, and its operators.

A group is a set of channels that live or die together. Its gate multiplies the *inputs of the layers that read the
channels* by the scores, after any normalisation and activation. The thesis writes the scores on the convolution's
output (4.1); in front of a BatchNorm such a gate would be undone by the normalisation in training, and a zero score
would still let the BatchNorm's bias through. Behind both, a zero score removes exactly the channel, and the score
folds into the reader's weights without error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from torch import nn

Kind = Literal["channels", "attention", "mlp", "stream"]
Width = int | str
"""A fixed number of channels, or the name of the group whose kept channels are counted."""


@dataclass(frozen=True)
class Group:
    """Channels that are scored, kept and pruned together.

    `outputs` are the modules that produce the channels (convolution rows, and the BatchNorms that follow), `inputs`
    the modules that read them (weight columns), where the gate sits. `index` names the buffer of a gather that picks
    the channels from a wider stream, for groups nobody produces alone. `block` names the residual block that goes when
    none of the group's channels is left, where that is possible; its last BatchNorm is `<block>.bn3`.

    `kind` says what is scored: `attention` is the dimensions of a head, shared by query, key and value and by `heads`
    heads. There `outputs` is the one layer whose rows are [3, heads, size], where the gate sits too, `inputs` the one
    layer whose columns are [heads, size].
    """

    name: str
    size: int
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    index: str | None = None
    block: str | None = None
    kind: Kind = "channels"
    heads: int = 1

    @property
    def row_copies(self) -> int:
        """How many rows of a producer belong to each channel."""
        return 3 * self.heads if self.kind == "attention" else 1

    @property
    def column_copies(self) -> int:
        """How many columns of a reader belong to each channel."""
        return self.heads


@dataclass(frozen=True)
class Operator:
    """One layer's cost as a function of widths; a multiply-add is one MAC.

    MACs are `macs * n_in * n_out`, parameters `weights * n_in * n_out + biases * n_out`, with `n_in` and `n_out` fixed
    numbers or names of groups. A BatchNorm or a depthwise convolution has `n_in = 1`.
    """

    name: str
    kind: str
    n_in: Width
    n_out: Width
    macs: int
    weights: int
    biases: int = 0


class Space(Protocol):
    """A network family: rebuilds its network from plain values and names its groups and operators."""

    choices: ClassVar[tuple[str, ...]] = ()
    """Arguments that a recipe may set otherwise than a checkpoint was trained with: they choose what is scored."""

    name: str

    @property
    def groups(self) -> tuple[Group, ...]:
        """The scored groups at their present widths."""

    @property
    def arch(self) -> dict[str, Any]:
        """JSON-able keyword arguments that rebuild this space's network."""

    @property
    def normalised(self) -> Mapping[str, str]:
        """Layer -> the BatchNorm that takes its output and nothing else, so that the layer's scale is free."""

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


def sizes(groups: Iterable[Group]) -> dict[str, int]:
    """Group name -> number of channels."""
    return {group.name: group.size for group in groups}
