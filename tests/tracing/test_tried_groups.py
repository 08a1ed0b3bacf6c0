"""Groups that are found by trying: of networks without a graph, and where the graph is wrong."""

import coupled_networks as networks
import pytest
import torch
import torch_pruning
from torch import nn

from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import LiveSpace, sizes
from compress.tracing import groups_of
from compress.tracing.meeting import tied
from compress.tracing.probe import NONE, SEVERAL, Probe

X = torch.zeros(2, 3, 4, 4)
CUT = {
    "halves": (networks.Halves, {"stem": 8, "a": 6, "mix": 10}),
    "gate": (networks.Gate, {"up": 8, "down": 12}),
    "glu": (lambda: networks.Gate(nn.GLU(1)), {"up": 8, "down": 12}),
    "radix": (networks.Radix, {"parts": 6, "squeeze": 4, "last": 10}),
    "shuffle": (networks.Shuffled, {"branch.0": 10, "last": 12}),
}


class Keeping(nn.Module):
    """A gate that keeps what it was given."""

    def forward(self, x):
        self.seen = x
        return torch.mul(*x.chunk(2, 1))


class Naming(nn.Module):
    """Norms of few groups that are called with a named argument, and a gate."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.GroupNorm(4, 16)])

    def forward(self, x):
        for norm in self.norms:
            x = norm(input=x)
        return torch.mul(*x.chunk(2, 1))


class Positive(nn.Module):
    """A gate that takes numbers near zero alone."""

    def forward(self, x):
        torch.linalg.cholesky(torch.diag_embed(1 + 0.1 * x.flatten(1)))
        return torch.mul(*x.chunk(2, 1))


def found(network):
    torch.manual_seed(0)
    return groups_of(network, X)


def no_graph(*_, **__):
    raise ZeroDivisionError("no graph")


@pytest.mark.parametrize("kind", CUT)
def test_channels_are_known_through_halves_gates_and_shuffles(kind):
    make, expected = CUT[kind]
    groups = found(make())
    assert {group.name: group.size for group in groups.groups} == expected
    assert groups.outputs == ("head",)
    assert not set(groups.left) & set(expected)


@pytest.mark.parametrize(
    "kind", [networks.Concatenation, networks.Overlap, networks.Grouped, networks.Residual, networks.Shared]
)
def test_without_a_graph_the_groups_are_the_same(kind, monkeypatch):
    with_graph = found(kind())
    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", no_graph)
    without = found(kind())
    assert {g.name: set(g.slices) for g in without.groups} == {g.name: set(g.slices) for g in with_graph.groups}
    assert without.outputs == with_graph.outputs
    assert without.left.keys() == with_graph.left.keys()


def test_what_does_not_run_with_other_numbers_is_left_alone(monkeypatch):
    assert found(networks.Gate(Positive())).left["up"] == "it is not known which layers read it"
    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", no_graph)
    with pytest.raises(UserError, match=r"cannot be traced .*no graph"):
        found(networks.Gate(Positive()))


def test_what_cannot_be_traced_nor_tried_is_refused_as_the_graph_failed(monkeypatch):
    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", no_graph)
    with pytest.raises(UserError, match=r"cannot be traced .*no graph"):
        groups_of(nn.Sequential(nn.Conv2d(3, 8, 1)), X)


@pytest.mark.parametrize("kind", CUT)
def test_a_sliced_network_runs_whatever_is_kept(kind):
    make, _ = CUT[kind]
    network = make().eval()
    space = LiveSpace(num_classes=7, model="given", found=found(network).to_json(), make=make)
    for n_kept in (1, 3, 5):
        kept = {group.name: tuple(range(min(n_kept, group.size))) for group in space.groups}
        small, _ = slice_model(network, space, WidthPlan("traced", sizes(space.groups), kept))
        assert small(X).shape == (2, 7)


def test_one_channel_less_in_one_half_is_no_group():
    # chunk(2) of 15 channels gives 8 and 7, which is right by chance, of 14 it gives 7 and 7.
    assert all(group.name != "stem" for group in found(networks.Shuffled()).groups)


def test_a_layer_whose_channels_are_in_no_order_is_listed():
    # The channels i and 15 - i meet.
    network = networks.Gate(lambda x: x * x.flip(1))
    network.down = nn.Conv2d(16, 12, 1)
    groups = found(network)
    assert [group.name for group in groups.groups] == ["down"]
    assert set(groups.left) == {"up", "head"}


def test_code_of_which_the_graph_goes_in_circles_is_listed():
    # torch-pruning would follow each channel to the one before for ever.
    groups = found(networks.Gate(lambda x: (x[:, 1:] - x[:, :-1])[:, :8]))
    assert [group.name for group in groups.groups] == ["down"]
    assert groups.outputs == ("head",)
    assert "circles" in groups.left["up"]


@pytest.mark.parametrize(
    "code", [lambda x: x.repeat_interleave(2, 1), lambda x: x[:, :, None].expand(-1, -1, 2, -1, -1)]
)
def test_channels_that_stand_several_times_side_by_side_are_no_outputs(code):
    network = networks.Gate(lambda x: code(x).flatten(1, -3))
    network.down = nn.Conv2d(32, 12, 1)
    groups = found(network)
    assert {group.name: group.size for group in groups.groups} == {"up": 16, "down": 12}
    assert groups.outputs == ("head",)


def test_a_layer_that_is_read_in_part_is_no_output():
    assert found(networks.Gate(lambda x: x[:, :8])).outputs == ("head",)


def test_a_network_that_keeps_what_it_computed_can_be_tried(monkeypatch):
    monkeypatch.setattr(torch_pruning.DependencyGraph, "get_pruning_group", no_graph)
    groups = found(networks.Gate(Keeping())).groups
    assert {group.name: group.size for group in groups} == {"up": 8, "down": 12}


def test_layers_may_be_called_with_named_arguments():
    groups = found(networks.Gate(Naming())).groups
    assert {group.name: group.size for group in groups} == {"up": 2, "down": 12}


def test_a_probe_tells_channels_apart_and_says_where_several_meet():
    probe = Probe(networks.Gate().eval(), (X,), torch.Generator().manual_seed(0))
    (up,) = (each for each in probe.sources if each.module == "up")
    assert probe.readers[up] == {"down"}
    assert probe.numbers([up])["down"].tolist() == [SEVERAL] * 8
    for half in range(2):
        numbers = probe.numbers([up], (half, 2))
        assert numbers["down"].tolist() == list(range(8))
        assert set(numbers["head"].tolist()) == {NONE}


def test_groups_of_one_size_that_share_a_layer_are_tied():
    groups = {group.name: group for group in found(networks.Residual()).groups}
    assert tied([groups["stem"], groups["up"]]) == []
    twins = [groups["stem"], groups["stem"]]
    (one,) = tied(twins)
    assert one.slices == groups["stem"].slices
