"""Spaces of the networks that a genotype makes: load, export, count and prune them like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import nn

from ..plan import Genotype, UserError, brief
from ..plan.genotype import Node
from ..spaces import SPACES, Group, Operator, WidthSpace, narrow, traced_operators
from ..spaces.arguments import check_ends, check_flag, check_whole, check_widths
from ..spaces.shapes import weightless
from .network import CellPlan, DartsNetwork, NatsNetwork, cell_plans, edge_name, reductions
from .published import DARTS_V2, NATS_LARGEST
from .states import FACTORIZED_REDUCE, RELU_CONV_BN, States, inner

SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5")
MOST_LAYERS, MOST_CHANNELS = 200, 4096


class GenotypeSpace(WidthSpace):
    """What spaces of genotypes share; `cell_space` is that of their genotypes, `network` the module that they build."""

    genotype: str
    num_classes: int
    in_channels: int
    cell_space: ClassVar[str]
    network: ClassVar[type[nn.Module]]
    classifier: ClassVar[tuple[str, ...]] = ("classifier",)
    carried: ClassVar[tuple[str, ...]] = ("genotype",)

    def _check(self) -> None:
        """UserError for what every such space has."""
        check_ends(self.num_classes, self.in_channels)
        if not isinstance(self.genotype, str):
            raise UserError(f"space.genotype = {brief(self.genotype)}: must be the text of a genotype; correct it")
        try:
            self.found.check_space(self.cell_space)
        except UserError as error:
            raise error.under("space") from None

    def _check_widths(self) -> None:
        full = {group.name: (1, group.size) for group in self._groups(everything=True)}
        check_widths(self.widths, full, network=f"the network of this genotype ({self.cell_space})")

    @property
    def found(self) -> Genotype:
        """The genotype as a value."""
        return Genotype.parse(self.genotype)

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network, in forward order."""
        return self._groups(everything=False)

    def _groups(self, *, everything: bool) -> tuple[Group, ...]:
        """The scored groups, or `everything` that could be."""
        raise NotImplementedError

    @property
    def normalised(self) -> dict[str, str]:
        """Convolutions and the BatchNorms of what they make."""
        with weightless():
            names = dict(self.network(self).named_modules())
        pairs = {"pointwise1": "bn1", "pointwise2": "bn2", "pointwise": "bn", "conv": "bn"}
        found = {}
        for name in names:
            module, _, last = name.rpartition(".")
            if norm := pairs.get(last):
                found[name] = f"{module}.{norm}"
        return found

    def build(self) -> nn.Module:
        """A freshly initialised network."""
        model = self.network(self)
        narrow(model, self._groups(everything=True), self.widths)
        return model

    def empty(self) -> nn.Module:
        """A network whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """Convolutions, BatchNorms and the classifier, in forward order, for images of (C, H, W)."""
        with weightless():
            return traced_operators(self.build(), self.groups, input_size)


@dataclass(frozen=True)
class DartsCellsSpace(GenotypeSpace):
    """The network that DARTS evaluates a genotype by: `layers` cells, those at 1/3 and 2/3 reductions.

    Scored are the channels inside of separable convolutions, and with `score_states` also what nodes hand on. Raises
    UserError for a genotype of another space, wrong numbers, an unknown group or a width out of range.

    Args:
        num_classes: of the data.
        genotype: the text of a DARTS genotype; unless given, the published one of second order.
        channels: of the nodes of the first cells; each reduction doubles them.
        layers: cells.
        in_channels: of the images.
        stem: "cifar" keeps the resolution, "imagenet" divides it by 8.
        auxiliary: train a second classifier along, which reads the maps behind the second reduction.
        drop_path: with what probability an edge is left out for an image at the end of the training, from 0 on.
        score_states: score the nodes' channels too; no latency table can price those.
        widths: group -> width, where it is narrower than in the unpruned network.

    Example::

        space = DartsCellsSpace(num_classes=10, channels=36, layers=20)
        model = space.build()  # 3,349,342 parameters
    """

    num_classes: int
    genotype: str = DARTS_V2.text
    channels: int = 36
    layers: int = 20
    in_channels: int = 3
    stem: Literal["cifar", "imagenet"] = "cifar"
    auxiliary: bool = False
    drop_path: float = 0.0
    score_states: bool = False
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "darts_cells"
    cell_space: ClassVar[str] = "darts"
    network: ClassVar[type[nn.Module]] = DartsNetwork
    choices: ClassVar[tuple[str, ...]] = ("auxiliary", "drop_path", "score_states")

    def __post_init__(self) -> None:
        check_whole("layers", self.layers, least=3, most=MOST_LAYERS, example=20)
        check_whole("channels", self.channels, least=2, most=MOST_CHANNELS, example=36)
        check_flag("auxiliary", self.auxiliary)
        check_flag("score_states", self.score_states)
        if self.stem not in ("cifar", "imagenet"):
            raise UserError(f"space.stem = {brief(self.stem)}: must be 'cifar' or 'imagenet'; choose one")
        rate = self.drop_path
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate < 1:
            raise UserError(f"space.drop_path = {brief(rate)}: must be a number from 0 to below 1; for example 0.2")
        self._check()
        self._check_widths()

    @property
    def cells(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes of both kinds of cells."""
        return self.found.cells

    @property
    def reductions(self) -> tuple[int, int]:
        """The numbers of the cells that are reductions."""
        return reductions(self.layers)

    @property
    def plan(self) -> Iterator[CellPlan]:
        """The cells in order."""
        return cell_plans(self.channels, self.layers, halve=self.stem == "imagenet")

    def check_trained(self, input_size: tuple[int, int, int]) -> None:
        """UserError where the auxiliary head would read maps that are too small, of images of (C, H, W)."""
        with weightless():
            network = DartsNetwork(self).eval()
            auxiliary = network.make_auxiliary()
            if auxiliary is not None:
                auxiliary.head.eval()(network.with_features(torch.empty(1, *input_size))[1])

    def _groups(self, *, everything: bool) -> tuple[Group, ...]:
        cells = self.cells
        inside = tuple(
            inner(f"cells.{i}.edges.{edge_name(source, number)}", plan.channels)
            for i, plan in enumerate(self.plan)
            for number, node in enumerate(cells[plan.kind], start=2)
            for operation, source in node
            if operation in SEPARABLE
        )
        return (*inside, *self._states().groups()) if everything or self.score_states else inside

    def _states(self) -> States:
        """What the stem, the preprocessings and the nodes hold."""
        states, cells = States(), self.cells
        if self.stem == "cifar":
            states.add("stem", size=3 * self.channels)
            states.write("stem", "stem.0", "stem.1")
            before = last = [("stem", 0)]
        else:
            states.add("stem0", "stem1", size=self.channels)
            states.write("stem0", "stem0.3", "stem0.4")
            states.read("stem1.1", [("stem0", 0)])
            states.write("stem1", "stem1.1", "stem1.2")
            before, last = [("stem0", 0)], [("stem1", 0)]
        for i, plan in enumerate(self.plan):
            inputs = [f"cells.{i}.preprocess0", f"cells.{i}.preprocess1"]
            states.add(*inputs, size=plan.channels)
            states.make(inputs[0], FACTORIZED_REDUCE if plan.halve else RELU_CONV_BN, before, inputs[0])
            states.make(inputs[1], RELU_CONV_BN, last, inputs[1])
            nodes = states.cell(f"cells.{i}.edges", cells[plan.kind], inputs, plan.channels, halved=plan.reduces)
            before, last = last, [(node, j * plan.channels) for j, node in enumerate(nodes)]
        states.read("classifier", last)
        return states


@dataclass(frozen=True)
class NatsCellsSpace(GenotypeSpace):
    """The network that NATS-Bench evaluates a genotype by: three stages of `layers` cells, reductions between them.

    Scored are the channels of the nodes, and those inside of the reductions. Raises UserError for a genotype of another
    space, wrong numbers, an unknown group or a width out of range.

    Args:
        num_classes: of the data.
        genotype: the text of a NATS-Bench genotype; unless given, all edges are 3x3 convolutions.
        channels: of the first stage; each reduction doubles them.
        layers: cells of every stage.
        in_channels: of the images.
        widths: group -> width, where it is narrower than in the unpruned network.

    Example::

        space = NatsCellsSpace(num_classes=10, channels=16, layers=5)
        model = space.build()
    """

    num_classes: int
    genotype: str = NATS_LARGEST.text
    channels: int = 16
    layers: int = 5
    in_channels: int = 3
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "nats_cells"
    cell_space: ClassVar[str] = "nats"
    network: ClassVar[type[nn.Module]] = NatsNetwork
    stages: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_whole("layers", self.layers, least=1, most=MOST_LAYERS, example=5)
        check_whole("channels", self.channels, least=1, most=MOST_CHANNELS, example=16)
        self._check()
        self._check_widths()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of a cell."""
        return self.found.cells["cell"]

    def _groups(self, *, everything: bool) -> tuple[Group, ...]:
        states, n, last = States(), self.channels, "stem"
        states.add(last, size=n)
        states.write(last, "stem.0", "stem.1")
        for stage in range(self.stages):
            if stage:
                n *= 2
                last = self._reduction(states, f"reductions.{stage - 1}", last, n)
            for i in range(self.layers):
                last = states.cell(f"cells.{stage}.{i}", self.nodes, [last], n, halved=False)[-1]
        states.write(last, "bn")
        states.read("classifier", [(last, 0)])
        return states.groups()

    def _reduction(self, states: States, block: str, source: str, size: int) -> str:
        """A block that reads `source`: its name, which is that of the state behind it."""
        inside = f"{block}.conv_a"
        states.add(inside, block, size=size)
        states.make(inside, RELU_CONV_BN, [(source, 0)], inside)
        states.make(f"{block}.conv_b", RELU_CONV_BN, [(inside, 0)], block)
        states.read(f"{block}.downsample.1", [(source, 0)])
        states.write(block, f"{block}.downsample.1")
        return block


for _space in (DartsCellsSpace, NatsCellsSpace):
    SPACES.add(_space)
