"""WDPruning: the mask and its straight-through gradients, what may stay, the multipliers, one step by hand."""

import pytest
import torch
from torch import nn

from compress.costs import macs
from compress.search import Excess, KeepLargest, OneSet, Thresholds, WdPruning, wdpruning_step
from compress.search.wdpruning import kept
from compress.spaces import PreResNetSpace, fold_scores, sizes

SPACE = PreResNetSpace(11, 4)
INPUT = (3, 8, 8)


def thresholds(start=0.0, target=0.5):
    found = Thresholds(SPACE.groups, start)
    return found, Excess(SPACE.operators(INPUT), found, target)


def test_the_largest_saliencies_stay_as_many_as_the_threshold_says():
    saliency = torch.tensor([0.3, -1.0, 0.9, 0.1, 0.5])
    for share, mask in ((0.59, [1, 0, 1, 0, 1]), (0.61, [1, 0, 1, 1, 1]), (1e-6, [0, 0, 1, 0, 0])):
        threshold = torch.tensor([share]).logit()
        assert KeepLargest.apply(saliency, threshold).tolist() == mask
    assert KeepLargest.apply(torch.zeros(3), torch.tensor([0.0])).tolist() == [1, 1, 0], "of equals the first stay"
    assert kept(torch.tensor([10.0]), 1000) == 1000, "the published start keeps all"


def test_gradients_pass_the_mask_straight_through():
    saliency = torch.tensor([0.3, -1.0, 0.9, 0.1], requires_grad=True)
    threshold = torch.zeros(1, requires_grad=True)
    factors = torch.tensor([2.0, 3.0, 5.0, 7.0])
    (KeepLargest.apply(saliency, threshold) * factors).sum().backward()
    assert saliency.grad.tolist() == factors.tolist(), "of all channels"
    assert threshold.grad.tolist() == [2.0 + 5.0], "of those that are kept"


def test_the_excess_is_what_the_widths_cost_above_the_target_and_its_gradient_the_difference_quotient():
    found, excess = thresholds(start=1.0, target=0.2)
    found.double()
    share = 1 / (1 + torch.tensor(-1.0, dtype=torch.float64).exp())
    widths = {name: float(share) * n for name, n in sizes(SPACE.groups).items()}
    full = macs(SPACE.operators(INPUT), sizes(SPACE.groups))
    assert excess().item() == pytest.approx(macs(SPACE.operators(INPUT), widths) / full - 0.2)
    excess().backward()
    for threshold in found.thresholds:
        values, h = [], 1e-5
        for shift in (h, -2 * h, h):
            with torch.no_grad():
                threshold += shift
            values.append(excess().item())
        assert threshold.grad.item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6)
    _, below = thresholds(start=1.0, target=0.99)
    assert below().item() == 0


def test_a_step_descends_the_lagrangian_and_raises_its_multipliers():
    w, alpha = (nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (2.0, 3.0))
    sets = OneSet(
        loss=lambda: (w * alpha).sum() ** 2,
        w=[w],
        alpha=[alpha],
        opt_w=torch.optim.SGD([w], lr=0.01),
        opt_alpha=torch.optim.SGD([alpha], lr=0.1),
    )
    multipliers = torch.tensor([0.5, 2.0], dtype=torch.float64)
    logs = wdpruning_step(sets, lambda: alpha.sum() - 2.6, multipliers, 10.0)
    over = 3 - 2.6
    assert w.item() == pytest.approx(2 - 0.01 * 2 * 2 * 9)
    assert alpha.item() == pytest.approx(3 - 0.1 * (2 * 4 * 3 + 0.5 + 2 * 2.0 * over)), "at the old w"
    assert multipliers.tolist() == pytest.approx([0.5 + 10 * over, 2 + 10 * over**2])
    assert {name: value.item() for name, value in logs.items()} == pytest.approx({"loss": 36.0, "over_target": over})
    assert not any(value.requires_grad for value in logs.values())


def test_scores_of_one_and_more_are_the_learnt_widths():
    found, _ = thresholds()
    with torch.no_grad():
        for i, (group, threshold) in enumerate(zip(SPACE.groups, found.thresholds, strict=True)):
            found.saliency(group.name).copy_(torch.randperm(group.size, generator=torch.Generator().manual_seed(i)))
            threshold.fill_(0.4 * i - 1)
    scores, masks = found.scores(), found.gating()
    for group in SPACE.groups:
        assert torch.equal(scores[group.name] >= 1, masks[group.name] == 1)
        assert 0 < masks[group.name].sum() < group.size
        order = found.saliency(group.name).argsort(descending=True)
        assert scores[group.name][order].diff().max() < 0, "the order of the saliencies"
        assert scores[group.name].min() > 0


def test_the_masked_network_is_the_folded_one():
    torch.manual_seed(0)
    network, plain = SPACE.build().eval(), SPACE.build().eval()
    plain.load_state_dict(network.state_dict())
    found = Thresholds(SPACE.groups, 0.3)
    x = torch.randn(2, *INPUT)
    whole = network(x)
    found.attach(network)
    fold_scores(plain, SPACE, found.gating())
    assert not torch.allclose(network(x), whole)
    torch.testing.assert_close(plain(x), network(x), rtol=1e-4, atol=1e-5)


def test_a_search_brings_the_costs_down_to_the_target():
    found, excess = thresholds(start=3.0, target=WdPruning(target=0.5).target)
    w = nn.Parameter(torch.zeros(1))
    sets = OneSet(
        loss=lambda: w.sum() + 0 * sum(found[group.name].sum() for group in SPACE.groups),
        w=[w],
        alpha=found.alpha(),
        opt_w=torch.optim.SGD([w], lr=0.0),
        opt_alpha=torch.optim.Adam(found.alpha(), lr=0.1),
    )
    for _ in range(60):
        wdpruning_step(sets, excess, found.multipliers, 10.0)
    assert excess().item() == 0
    widths = {group.name: int(found.gating()[group.name].sum()) for group in SPACE.groups}
    assert macs(SPACE.operators(INPUT), widths) / macs(SPACE.operators(INPUT), sizes(SPACE.groups)) < 0.6
