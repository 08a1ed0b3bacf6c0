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
    assert between([1, 2], [float("nan"), 0.0])[0] > 1e18


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
        (Budget("pruning_ratio", 0.4), {"harms": harms}, "limits no cost"),
    ):
        with pytest.raises(UserError, match=says):
            plan_for(SPACE, scores, budget, config, input_size=SIZE, **options)
