"""Groups that share axes: gated equals folded, masked equals sliced, formulas equal counts, and budgets are kept."""

from itertools import product

import pytest
import torch
from branching import SIZE, BranchingSpace, InterleavedSpace
from exact import check_folding, relative

from compress.costs import Costed, breakdown, count_macs, count_params, macs, params
from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, SelectConfig, knapsack, select, slice_model
from compress.search.tas import Tas, WidthChoices
from compress.spaces import Alphas, norm_scales, sizes

SPACES = {space.name: space for space in (BranchingSpace(), InterleavedSpace())}


@pytest.fixture
def images():
    return torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["full", "one", "random", "mixed"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@torch.no_grad()
def test_gated_equals_folded_and_masked_equals_sliced(space, kind, seed, randomised, random_plan, images):
    check_folding(randomised(space, seed).double(), space, random_plan(space, kind, seed), images)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@torch.no_grad()
def test_slicing_twice_equals_slicing_once(space, seed, randomised, random_plan, images):
    model, first = randomised(space, seed).double(), random_plan(space, "random", seed)
    half, half_space = slice_model(model, space, first)
    second = random_plan(half_space, "random", seed + 9)
    again, _ = slice_model(half, half_space, second)
    kept = {name: tuple(first.kept[name][i] for i in second.kept[name]) for name in first.kept}
    once, _ = slice_model(model, space, WidthPlan(space.name, sizes(space.groups), kept))
    assert relative(again(images), once(images)) <= 1e-12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_formulas_equal_counts_layer_by_layer(space, seed, random_plan):
    plan = random_plan(space, "random", seed)
    model = space.build()
    small, small_space = slice_model(model, space, plan)
    operators = space.operators(SIZE)
    for network, widths in ((model, sizes(space.groups)), (small, plan.widths)):
        assert params(operators, widths) == count_params(network)
    if space.name == "branching":  # attention outside of a module of its own has no operator
        assert macs(operators, plan.widths) == count_macs(small, SIZE)
        full = Costed(model, operators, sizes(space.groups))
        for sliced in (
            Costed(small, operators, plan.widths),
            Costed(small, small_space.operators(SIZE), sizes(small_space.groups)),
        ):
            found = breakdown(full, sliced, groups=space.groups, input_size=SIZE)
            kinds = {row["name"]: row["kind"] for row in found["operators"]}
            assert (kinds["depth"], kinds["lanes"], kinds["packs"]) == ("depthwise", "conv", "conv")


def test_soft_widths_of_sums_have_gradients():
    operators = SPACES["branching"].operators(SIZE)
    widths = {name: torch.tensor(float(n), requires_grad=True) for name, n in sizes(SPACES["branching"].groups).items()}
    macs(operators, widths).backward()
    more = {name: n + 1 for name, n in sizes(SPACES["branching"].groups).items()}
    full = sizes(SPACES["branching"].groups)
    for name, width in widths.items():  # in each width alone, the cost is a line
        assert float(width.grad) == macs(operators, {**full, name: more[name]}) - macs(operators, full)


@pytest.mark.parametrize("most", [20_000, 8])
@pytest.mark.parametrize("ratio", [0.5, 0.65, 0.8])
def test_the_knapsack_prices_concatenations_exactly(most, ratio, monkeypatch):
    """By blocks of groups, and, where these have too many combinations, by pairs."""
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", most)
    space = SPACES["branching"]
    operators, full = space.operators(SIZE), sizes(space.groups)
    generator = torch.Generator().manual_seed(3)
    scores = {name: torch.rand(n, generator=generator) for name, n in full.items()}
    budget = Budget("macs_ratio", ratio)
    plan = select(scores, operators, budget, SelectConfig(round_to=2, floor=2), space=space.name)
    best = {name: [0.0, *s.sort(descending=True).values.cumsum(0).tolist()] for name, s in scores.items()}
    allowed = [sorted({*range(2, n, 2), n}) for n in full.values()]
    fitting = [
        sum(best[name][n] for name, n in zip(full, choice, strict=True))
        for choice in product(*allowed)
        if macs(operators, dict(zip(full, choice, strict=True))) <= ratio * macs(operators, full)
    ]
    assert sum(best[name][n] for name, n in plan.widths.items()) == pytest.approx(max(fitting), rel=2e-4)
    assert macs(operators, plan.widths) <= ratio * macs(operators, full)


def test_what_needs_channels_of_its_own_says_so():
    space = SPACES["branching"]
    network = space.build()
    with pytest.raises(UserError, match=r"group 'left' has no BatchNorm with a scale"):
        norm_scales(network, space.groups)
    with pytest.raises(UserError, match=r"search\.method\.type = 'tas': .*mix.* reads .*'left'"):
        WidthChoices(space.groups, Tas()).attach(network)


@torch.no_grad()
def test_a_gate_comes_off_one_axis_and_a_second_one_is_refused(images):
    space = SPACES["branching"]
    network = space.build().double().eval()
    plain = network(images)
    alphas = Alphas(space.groups).double()
    gates = alphas.attach(network)
    alphas["left"].mul_(0.5)
    assert relative(network(images), plain) > 1e-3
    with pytest.raises(ValueError, match="has one already"):
        Alphas(space.groups).attach(network)
    for gate in gates:
        gate.remove()
    assert torch.equal(network(images), plain)
    assert type(network.mix) is torch.nn.Conv2d
