"""Groups: channels that live or die together, and the slices of tensors where they stand.

A group's gate multiplies what its readers read by the scores, after any normalisation and activation. The thesis writes
the scores on the convolution's output (4.1); in front of a BatchNorm such a gate would be undone by the normalisation
in training, and a zero score would still let the BatchNorm's bias through. Behind both, a zero score removes exactly
the channel, and the score folds into the reader's weights without error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["channels", "attention", "mlp", "stream"]
"""What a group's scores stand for: a label for ranking and reports."""

Gated = Literal["reads", "writes"]


@dataclass(frozen=True)
class Layout:
    """Where the channels of a group stand along an axis: channel i at offset + c * stride + i * inner + j.

    c runs over `copies`, j over `inner`. `offset`: what stands before the group, as in a concatenation. `copies`: how
    often the group is repeated, such as heads that share their dimensions; each copy starts `stride` after the one
    before (None: at once). `inner`: how many entries a channel has side by side, such as the pixels of a flattened
    feature map or the rows of a convolution's own groups.

    Example::

        Layout(offset=8, copies=2).positions([0, 3], size=4)  # tensor([8, 11, 12, 15])
    """

    offset: int = 0
    copies: int = 1
    stride: int | None = None
    inner: int = 1

    @property
    def entries(self) -> int:
        """How many entries each channel has."""
        return self.copies * self.inner

    def step(self, size: int) -> int:
        """From the beginning of one copy to that of the next, of a group of `size` channels."""
        return size * self.inner if self.stride is None else self.stride

    def starts(self, size: int) -> list[int]:
        """Where each copy begins."""
        return [self.offset + copy * self.step(size) for copy in range(self.copies)]

    def positions(self, channels: Iterable[int], size: int) -> Tensor:
        """The entries of `channels` out of `size`: int64 [copies * channels * inner] on the CPU, copy by copy."""
        c, i, j = (
            torch.tensor(numbers, dtype=torch.long, device="cpu")  # even where networks are made on the meta device
            for numbers in (self.starts(size), list(channels), list(range(self.inner)))
        )
        return (c[:, None, None] + i[:, None] * self.inner + j).flatten()


PLAIN = Layout()


@dataclass(frozen=True)
class Slice:
    """The entries along `axis` of a module's tensors that belong to the channels of a group.

    `parameter` names one tensor of `module` ("" is the network); None means every floating-point one that has the axis:
    for axis 0 the weight, the bias and a BatchNorm's statistics, for axis 1 the weight.

    `exponent`: slicing `size` channels to n multiplies the entries that stay by (n / size) ** exponent. A head of n of
    d dimensions divides its logits by sqrt(n) instead of sqrt(d): its query makes up for that with 0.5.
    """

    module: str
    axis: int
    layout: Layout = PLAIN
    parameter: str | None = None
    exponent: float = 0.0

    def includes(self, parameter: str, tensor: Tensor) -> bool:
        """Whether this is a slice of `tensor`, which the module calls `parameter`."""
        return self.parameter in (None, parameter) and tensor.dim() > self.axis and tensor.is_floating_point()

    def per_channel(self, tensor: Tensor, size: int) -> Tensor:
        """All numbers of each channel in `tensor`, [size, copies * inner * rest]."""
        positions = self.layout.positions(range(size), size).to(tensor.device)
        entries = tensor.index_select(self.axis, positions).movedim(self.axis, 0)
        shape = (self.layout.copies, size, self.layout.inner, *entries.shape[1:])
        return entries.reshape(shape).transpose(0, 1).flatten(1)


def rows(*modules: str, layout: Layout = PLAIN, exponent: float = 0.0) -> tuple[Slice, ...]:
    """What `modules` make: the first axis of their tensors."""
    return tuple(Slice(module, 0, layout, exponent=exponent) for module in modules)


def columns(*modules: str, layout: Layout = PLAIN) -> tuple[Slice, ...]:
    """What `modules` read: the second axis of their weights."""
    return tuple(Slice(module, 1, layout) for module in modules)


@dataclass(frozen=True)
class Rest:
    """What is left of residual block `block` when nothing of its groups is kept: the shortcut, and maybe a constant.

    Groups that name the same block go together or not at all, and its `modules` with them. Where the block adds a
    constant then, it is what its `last` layers, one after the other, make of zeros, and becomes the parameter `bias` of
    what takes the block's place.

    Example::

        Rest("layer1.1", modules=("layer1.1",))
    """

    block: str
    modules: tuple[str, ...]
    last: tuple[str, ...] = ()
    bias: str | None = None

    def holds(self, name: str) -> bool:
        """Whether a module or tensor called `name` goes with the block."""
        return any(name == module or name.startswith(f"{module}.") for module in self.modules)

    def with_prefix(self, prefix: str) -> Rest:
        """The same in a network of which this one is the part `prefix`."""
        modules, last = (tuple(f"{prefix}.{name}" for name in names) for names in (self.modules, self.last))
        return Rest(f"{prefix}.{self.block}", modules, last, self.bias and f"{prefix}.{self.bias}")


@dataclass(frozen=True)
class Group:
    """Channels that are scored, kept and pruned together.

    `writes` are the slices that produce them (convolution rows, and the BatchNorms that follow), `reads` those that
    read them (weight columns). Scores multiply what the `gated` ones compute: the readers' inputs, or, where a reader
    does not see the channels themselves, the writers' outputs. `index` names the buffer of a gather that picks the
    channels from a wider stream, for groups nobody produces alone. `rest`: what stays of the block that goes when none
    of its groups' channels is left, where that is possible. `kind` is a label; nothing that is computed depends on it.

    Example::

        Group("mlp", 64, rows("mlp.fc1"), columns("mlp.fc2"), kind="mlp")
    """

    name: str
    size: int
    writes: tuple[Slice, ...]
    reads: tuple[Slice, ...]
    gated: Gated = "reads"
    index: str | None = None
    rest: Rest | None = None
    kind: Kind = "channels"

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Writers, then readers."""
        return (*self.writes, *self.reads)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of `slices`, each once."""
        return tuple(dict.fromkeys(each.module for each in self.slices))

    @property
    def scored(self) -> tuple[Slice, ...]:
        """The slices that scores multiply."""
        return self.writes if self.gated == "writes" else self.reads

    def with_prefix(self, prefix: str) -> Group:
        """This group of a network that is the part `prefix` of a larger one."""
        writes, reads = (
            tuple(replace(each, module=f"{prefix}.{each.module}".rstrip(".")) for each in side)
            for side in (self.writes, self.reads)
        )
        index = None if self.index is None else f"{prefix}.{self.index}"
        rest = self.rest and self.rest.with_prefix(prefix)
        return replace(self, name=f"{prefix}.{self.name}", writes=writes, reads=reads, index=index, rest=rest)


def sizes(groups: Iterable[Group]) -> dict[str, int]:
    """Group name -> number of channels."""
    return {group.name: group.size for group in groups}
