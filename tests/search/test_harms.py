"""Harms: what a network loses with fewer channels of a group, and selection by that."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, SelectConfig, plan_for, slice_model
from compress.search import harms_of
from compress.search.harms import between, measured_widths
from compress.spaces import PreResNetSpace, sizes

SPACE, SIZE = PreResNetSpace(11, 5), (3, 8, 8)


def cross_entropy(network, batch):
    images, labels = batch
    return F.cross_entropy(network(images), labels)


@pytest.fixture(scope="module")
def measured():
    """A network, scores, batches, and the harms that they give."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SPACE.build().eval()
    scores = {group.name: torch.randn(group.size, generator=generator) for group in SPACE.groups}
    batches = [
        (torch.randn(4, *SIZE, generator=generator), torch.randint(0, 5, (4,), generator=generator)) for _ in range(2)
    ]
    return network, scores, batches, harms_of(network, SPACE, scores, cross_entropy, batches)


def test_harms_are_the_roots_of_what_sliced_networks_lose(measured):
    network, scores, batches, harms = measured
    full = sizes(SPACE.groups)
    assert {name: len(harm) for name, harm in harms.items()} == {name: n + 1 for name, n in full.items()}
    name = next(iter(full))
    best_first = scores[name].abs().argsort(descending=True).tolist()
    with torch.no_grad():
        whole = sum(float(cross_entropy(network, batch)) for batch in batches) / 2
        rises = []
        for width in measured_widths(full[name]):
            kept = {group: tuple(range(n)) for group, n in full.items()}
            kept[name] = tuple(sorted(best_first[:width]))
            small, _ = slice_model(network, SPACE, WidthPlan(SPACE.name, full, kept, {}))
            rises.append(sum(float(cross_entropy(small.eval(), batch)) for batch in batches) / 2 - whole)
    assert harms[name] == pytest.approx(between(measured_widths(full[name]), [*rises[:-1], 0.0]), abs=2e-3)


def test_the_network_stays_as_it_was(measured):
    network, scores, batches, harms = measured
    names = [name for name, _ in network.named_modules()]
    again = harms_of(network, SPACE, scores, cross_entropy, batches)
    assert again == harms
    assert names == [name for name, _ in network.named_modules()]
    assert not network.training


def test_harms_between_measured_widths():
    assert measured_widths(16) == [2, 4, 6, 8, 10, 12, 14, 16]
    assert measured_widths(3) == [1, 2, 3]
    assert between([2, 4], [4.0, 0.0]) == [2.0, 2.0, 2.0, 1.0, 0.0]
    assert between([1, 2, 3], [0.25, 1.0, 0.0]) == [1.0, 1.0, 1.0, 0.0]  # more channels never harm more
    assert between([1, 2], [-0.5, 0.0]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_overflows_hides_nothing_of_the_other_groups(broken):
    """As large a number as all others beside it are rounding errors would leave them undecided."""
    scores = {group.name: torch.ones(group.size) for group in SPACE.groups}

    def plan(worst):
        harms = {}
        for i, (name, n) in enumerate(sizes(SPACE.groups).items()):
            widths = measured_widths(n)
            rises = [(1 + i % 3) * (1 - width / n) ** 2 for width in widths]
            harms[name] = between(widths, [worst, *rises[1:]] if i == 2 else rises)
        config = SelectConfig(gain="measured", round_to=4)
        return plan_for(SPACE, scores, Budget("macs_ratio", 0.5), config, input_size=SIZE, harms=harms)

    assert plan(broken).widths == plan(100.0).widths


def test_a_network_whose_loss_is_not_finite_is_refused(measured):
    network, scores, batches, _ = measured
    with pytest.raises(UserError, match=r"select.gain = 'measured': the loss of the whole network .* is nan"):
        harms_of(network, SPACE, scores, lambda *_: torch.tensor(float("nan")), batches)


def test_what_a_loss_draws_is_the_same_at_every_width(measured):
    """Detectors draw samples for theirs: differences would be differences of draws."""
    network, scores, batches, harms = measured
    widths = []
    found = harms_of(
        network,
        SPACE,
        scores,
        lambda model, batch: cross_entropy(model, batch) + torch.rand(()),
        batches,
        advance=lambda: widths.append(1),
    )
    for name, own in found.items():
        assert own == pytest.approx(harms[name], abs=2e-3)
    assert len(widths) == sum(len(measured_widths(n)) - 1 for n in sizes(SPACE.groups).values())


def test_selection_keeps_what_harms_most(measured):
    scores = {name: torch.ones_like(score) for name, score in measured[1].items()}
    full = sizes(SPACE.groups)
    fragile = max(full, key=lambda name: full[name])
    harms = {name: [(9.0 if name == fragile else 0.1) * (1 - k / n) for k in range(n + 1)] for name, n in full.items()}
    config = SelectConfig(gain="measured")
    plan = plan_for(SPACE, scores, Budget("macs_ratio", 0.6), config, input_size=SIZE, harms=harms)
    shares = {name: width / full[name] for name, width in plan.widths.items()}
    assert shares[fragile] == 1
    assert min(shares.values()) < 0.3
    assert plan.record["select"]["gain"] == "measured"
    for budget, options, says in (
        (Budget("macs_ratio", 0.6), {}, "needs harms"),
        (Budget("macs_ratio", 0.6), {"harms": {fragile: [1.0]}}, "must be .* finite numbers"),
        (Budget("macs_ratio", 0.6), {"harms": {**harms, fragile: harms[fragile][1:]}}, "must be .* finite numbers"),
        (Budget("macs_ratio", 0.6), {"harms": {**harms, fragile: [float("nan")] * 65}}, "must be 65 finite numbers"),
        (Budget("pruning_ratio", 0.4), {"harms": harms}, "limits no cost"),
    ):
        with pytest.raises(UserError, match=says):
            plan_for(SPACE, scores, budget, config, input_size=SIZE, **options)
