"""Groups of any network: found, verified, and what is left alone says why."""

from dataclasses import replace

import pytest
import torch
from coupled_networks import Concatenation, Fixed, Grouped, Halves, Overlap, Residual, Shared
from torch import nn

from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import LiveSpace, sizes
from compress.tracing import groups_of
from compress.tracing.verify import Verifier

X = torch.zeros(2, 3, 4, 4)


def found(network, **options):
    torch.manual_seed(0)
    return groups_of(network, X, **options)


def by_name(groups):
    return {group.name: group for group in groups.groups}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Concatenation, {"a": 6, "b": 4, "mix": 5}),
        (Grouped, {"conv1": 4, "squeeze": 6}),
        (Residual, {"stem": 8, "up": 16}),
        (Shared, {"inner": 6}),
        (Fixed, {"b": 6}),
    ],
)
def test_the_groups_of_a_network_are_its_coupled_channels(kind, expected):
    assert {group.name: group.size for group in found(kind()).groups} == expected


def test_a_sum_with_a_concatenation_is_two_groups():
    groups = by_name(found(Overlap()))
    assert sorted(group.size for group in groups.values()) == [4, 6]
    assert all("c" in group.modules and "head" in group.modules for group in groups.values())


def test_a_flattened_map_has_all_its_pixels_as_columns_of_a_channel():
    (piece,) = by_name(found(Concatenation()))["mix"].reads
    assert (piece.module, piece.axis, piece.layout.inner) == ("head", 1, 16)


def test_a_grouped_convolution_loses_whole_groups_with_both_its_sides():
    group = by_name(found(Grouped()))["conv1"]
    inner = {piece.module: piece.layout.inner for piece in group.writes}
    assert inner == {"conv1": 3, "bn1": 3, "conv2": 3, "bn2": 3, "conv3": 6, "excite": 6}
    assert {piece.module for piece in group.reads} == {"squeeze", "head"}


class Nested(nn.Module):
    """Reads one image out of a dict, and gives more than tensors."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(1, 8, 1), nn.Linear(8, 4)

    def forward(self, x, more):
        y = torch.relu(self.a(x) + self.b(more["depth"])).mean((2, 3))
        return {"logits": self.c(y), "loss": None, "kind": "depth"}


def test_inputs_stand_in_dicts_and_outputs_beside_what_is_no_tensor():
    network, example = Nested(), (X, {"depth": torch.zeros(2, 1, 4, 4)})
    groups = groups_of(network, example).groups
    assert {group.name: group.size for group in groups} == {"a": 8}
    # Inputs of single precision would be refused by weights of double, in which groups are verified.
    assert Verifier(network, example, {}).fault(groups) is None


def test_what_is_left_alone_says_why():
    reasons = found(Residual(lambda n: nn.GroupNorm(1, n))).left
    assert "GroupNorm" in reasons["stem"]
    assert "no convolution or linear layer reads it" in reasons["head"]
    assert "called more than once" in found(Shared()).left["stem"]
    assert "does not run" in found(Fixed()).left["a"]


def test_streams_and_ignored_layers_keep_their_channels():
    assert by_name(found(Residual(), streams=False)).keys() == {"up"}
    for ignored in (["deep"], [nn.BatchNorm2d]):
        kept = {"deep": {"stem"}, nn.BatchNorm2d: {"up"}}[ignored[0]]
        assert by_name(found(Residual(), ignored_layers=ignored)).keys() == kept
    network = Residual()
    assert "up" not in by_name(found(network, ignored_layers=[network.up]))


def test_the_layers_that_make_the_outputs_are_named():
    assert found(Concatenation()).outputs == ("head",)


@pytest.mark.parametrize("kind", [Concatenation, Overlap, Grouped, Residual])
def test_masked_equals_sliced_on_the_networks_own_weights(kind):
    torch.manual_seed(1)
    network = kind().double().eval()
    groups = groups_of(network.float(), X)
    network.double()
    space = LiveSpace(num_classes=7, model="given", found=groups.to_json(), make=lambda: kind())
    kept = {g.name: tuple(sorted(torch.randperm(g.size)[: max(1, g.size // 2)].tolist())) for g in groups.groups}
    small, _ = slice_model(network, space, WidthPlan("traced", sizes(space.groups), kept))
    verifier = Verifier(network.float(), (X,), {})
    assert verifier.fault(groups.groups) is None
    assert small(X.double()).shape == (2, 7)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("kind", [Concatenation, Grouped, Residual])
def test_slicing_in_two_rounds_is_slicing_at_once(kind):
    network = kind().eval()
    space = LiveSpace(num_classes=7, model="given", found=groups_of(network, X).to_json(), make=kind)
    plans = [WidthPlan.whole("traced", sizes(space.groups))]
    for _ in range(2):
        kept = {name: channels[::-2][::-1] for name, channels in plans[-1].kept.items()}
        plans.append(WidthPlan("traced", plans[0].sizes, kept))
    between, narrower = slice_model(network, space, plans[1])
    twice, _ = slice_model(between, narrower, plans[2].within(plans[1]))
    once, _ = slice_model(network, space, plans[2])
    assert twice.state_dict().keys() == once.state_dict().keys()
    assert all(torch.equal(value, once.state_dict()[name]) for name, value in twice.state_dict().items())
    assert sum(p.numel() for p in twice.parameters()) < sum(p.numel() for p in between.parameters())


def test_a_wrong_index_map_is_found_out():
    network = Concatenation()
    groups = by_name(found(network))
    wrong = replace(groups["b"], writes=tuple(p for p in groups["b"].writes if p.module != "norm"))
    assert Verifier(network, (X,), {}).fault([wrong]) is not None
    moved = replace(groups["a"], reads=tuple(replace(p, layout=replace(p.layout, offset=1)) for p in groups["a"].reads))
    assert Verifier(network, (X,), {}).fault([moved]) is not None


def test_a_network_that_is_fresh_hides_no_fault_behind_its_zeros():
    # The scale is all zeros, so that without other numbers any pruning inside the block would look exact.
    assert by_name(found(Residual())).keys() == {"stem", "up"}


@pytest.mark.parametrize("kind", [Residual, Halves])
def test_nothing_of_the_network_or_the_random_state_changes(kind):
    network = kind().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    groups_of(network, X)
    assert torch.equal(state, torch.get_rng_state())
    assert network.training
    assert all("forward" not in vars(module) for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        return self.a(x).detach().mean()


@pytest.mark.parametrize(
    ("network", "example", "words"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 8, 1)),
            torch.zeros(1, 5, 4, 4),
            r"example_input = \(1, 5, 4, 4\): Sequential does not take it",
        ),
        (Branching(), X, "PyTorch can differentiate"),
    ],
)
def test_a_network_that_cannot_be_traced_is_refused_in_one_line(network, example, words):
    with pytest.raises(UserError, match=words) as error:
        groups_of(network, example)
    assert "\n" not in str(error.value)


def test_a_seed_must_be_a_number():
    with pytest.raises(UserError, match="seed = 'a' must be of type int"):
        found(Residual(), seed="a")


def test_an_ignored_name_must_be_a_modules():
    with pytest.raises(UserError, match="'nothing' is no module"):
        found(Residual(), ignored_layers=["nothing"])
