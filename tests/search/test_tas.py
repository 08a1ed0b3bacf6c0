"""TAS: interpolation, sampling by Gumbel softmax, coverage, the FLOPs loss, the step."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.costs import macs
from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig
from compress.plan import UserError
from compress.search import Bilevel, MacsLoss, Tas, WidthChoices, tas_step
from compress.search.tas import interpolate_channels, mix_widths
from compress.spaces import PreResNetSpace, sizes

SPACE = PreResNetSpace(11, 4)
INPUT = (3, 8, 8)


def test_channel_interpolation_is_average_pooling_over_channels():
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 3)
    assert interpolate_channels(x, 3)[0, :, 0, 0].tolist() == [0.5, 2.5, 4.5]
    assert interpolate_channels(x, 6) is x


def test_mixture_keeps_the_shape_and_zeros_what_no_sample_covers():
    torch.manual_seed(0)
    logits = torch.tensor([20.0, 19.0, -20.0])
    x = torch.rand(2, 10, 4, 4) + 1
    mixed = mix_widths(x, [3, 6, 10], logits, tau=0.1)
    assert mixed.shape == x.shape
    assert bool((mixed[:, :6] > 0).all())
    assert bool((mixed[:, 6:] == 0).all())


def test_tas_scores_are_survival_probabilities_and_fall_with_the_index():
    choices = WidthChoices(SPACE.groups, Tas(ratios=(0.5, 1.0)))
    with torch.no_grad():
        for logits in choices.logits:
            logits.copy_(torch.tensor([0.0, np.log(3.0)]))
    for group in SPACE.groups:
        score, half = choices.scores()[group.name], group.size // 2
        # Half the channels, and not one more, are in both candidates.
        torch.testing.assert_close(score, torch.tensor([1.0] * half + [0.75] * (group.size - half)))


def test_macs_loss_pushes_towards_the_target_from_both_sides():
    choices = WidthChoices(SPACE.groups, Tas(ratios=(0.25, 0.5, 1.0), target=0.5))
    cost = MacsLoss(SPACE, SPACE.operators(INPUT), choices)
    for start, sign in (((0.0, 0.0, 2.0), 1), ((2.0, 0.0, 0.0), -1)):
        with torch.no_grad():
            for logits in choices.logits:
                logits.copy_(torch.tensor(start))
        choices.zero_grad()
        cost().backward()
        for logits in choices.logits:
            assert sign * float(logits.grad[2]) > 0, "descent lowers what costs too much"
            assert sign * float(logits.grad[0]) < 0


def test_the_temperature_falls_linearly_from_the_first_epoch():
    method = Tas()
    assert [method.temperature(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([10.0, 5.05, 0.1])


def test_a_search_lowers_the_temperature_of_its_samples_epoch_by_epoch():
    torch.manual_seed(0)
    config = SearchConfig(epochs=4, method={"type": "tas", "tau": 8.0, "tau_end": 4.0})
    model = SearchModel(SPACE.build(), SPACE, config, input_size=INPUT)
    batch, optimizers, seen = (torch.randn(4, *INPUT), torch.arange(4)), model.optimizers(), []
    for epoch in range(4):
        model.set_epoch(epoch)
        model.train_step({"p": batch, "a": batch}, optimizers)
        seen.append(model.source.tau)
    assert seen == [8.0, 7.0, 6.0, 5.0]


def test_the_most_probable_widths_are_those_of_the_found_network():
    choices = WidthChoices(SPACE.groups, Tas(ratios=(0.25, 0.5, 1.0)))
    name = SPACE.groups[0].name
    assert choices.chosen_widths() == sizes(SPACE.groups), "at even chances nothing is pruned"
    with torch.no_grad():
        choices.logits[0].copy_(torch.tensor([0.0, 0.1, -0.1]))
    assert choices.chosen_widths()[name] == SPACE.groups[0].size // 2


def test_tas_refuses_ratios_it_cannot_choose_from():
    with pytest.raises(UserError, match=r"search\.method\.ratios"):
        Tas(ratios=(0.5,))
    with pytest.raises(UserError, match="target = 2"):
        Tas(target=2)


def test_candidates_are_drawn_with_their_probabilities_without_replacement():
    """Of three, the one of probability p is left out with q r (1 / (1 - q) + 1 / (1 - r)), q and r the others'; with
    Gumbel's sign reversed it would be 0.059, not 0.022."""
    torch.manual_seed(0)
    q, r, n = 0.1, 0.1, 2000
    logits, x = torch.tensor([q, r, 1 - q - r]).log() + 3, torch.ones(1, 3, 1, 1)
    left_out = sum(float(mix_widths(x, [1, 2, 3], logits, tau=1.0)[0, 2, 0, 0]) == 0 for _ in range(n))
    expected = q * r * (1 / (1 - q) + 1 / (1 - r))
    assert left_out / n == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))


def test_the_weights_of_the_two_that_are_drawn_add_up_to_one():
    torch.manual_seed(0)
    for tau in (0.1, 5.0):
        mixed = mix_widths(torch.ones(2, 4, 3, 3), [2, 3, 4], torch.tensor([0.3, 0.1, 0.2]), tau=tau)
        torch.testing.assert_close(mixed[:, :3], torch.ones(2, 3, 3, 3))


def test_a_low_temperature_chooses_and_a_high_one_averages():
    torch.manual_seed(0)
    logits, x = torch.zeros(2), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    # The narrow candidate is 1 in both channels, the wide one 3 in the second.
    chosen = [float(mix_widths(x, [1, 2], logits, tau=1e-4)[0, 1, 0, 0]) for _ in range(20)]
    assert {round(value, 4) for value in chosen} == {1.0, 3.0}
    averaged = mix_widths(x, [1, 2], logits, tau=1e4)
    assert float(averaged[0, 1, 0, 0]) == pytest.approx(2, abs=0.01)
    logits.requires_grad_()
    (slope,) = torch.autograd.grad(mix_widths(x, [1, 2], logits, tau=1.0).sum(), logits)
    assert slope[1] > 0, "a larger logit makes the wide candidate, and so the sum, larger"
    assert slope.sum() == pytest.approx(0, abs=1e-6)


def test_attached_networks_mix_in_training_and_are_whole_in_evaluation():
    torch.manual_seed(0)
    network, choices = SPACE.build(), WidthChoices(SPACE.groups, Tas(ratios=(0.25, 0.5), tau=1.0))
    x, seen = torch.randn(2, *INPUT), {}
    network.eval()
    whole = network(x)
    choices.attach(network)
    for group in SPACE.groups:
        for reader in (each.module for each in group.reads):
            module = network.get_submodule(reader)
            module.register_forward_pre_hook(lambda _, args, reader=reader: seen.update({reader: args[0]}))
    assert torch.equal(network(x), whole)
    network.train()(x).sum().backward()
    for group, logits in zip(SPACE.groups, choices.logits, strict=True):
        for reader in (each.module for each in group.reads):
            assert seen[reader].shape[1] == group.size
            assert not seen[reader][:, group.size // 2 :].any(), "no candidate is wider than half"
            assert seen[reader][:, : group.size // 4].any()
        assert logits.grad is not None
        assert logits.grad.any()


def test_candidate_widths_are_rounded_shares_of_at_least_one():
    choices = WidthChoices(SPACE.groups, Tas(ratios=(0.01, 0.28, 0.5, 1.0)))
    assert choices.widths["layer1.0.conv1"] == [1, 4, 8, 16]
    assert choices.expected_widths()["layer1.0.conv1"].item() == pytest.approx((1 + 4 + 8 + 16) / 4)


def test_a_step_descends_the_weights_then_the_scores_at_the_new_weights():
    w, alpha = (nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (2.0, 3.0))
    probes = []

    def loss(value):
        return lambda *, probe=False: (probes.append(probe), value().sum())[1]

    sets = Bilevel(
        loss_a=loss(lambda: (w * alpha) ** 2),
        loss_p=loss(lambda: 5 * w * alpha),
        w=[w],
        alpha=[alpha],
        opt_w=torch.optim.SGD([w], lr=0.01),
        opt_alpha=torch.optim.SGD([alpha], lr=0.1),
    )
    logs = tas_step(sets, lambda: 7 * alpha.sum())
    new_w = 2 - 0.01 * 2 * 2 * 9
    assert w.item() == pytest.approx(new_w)
    assert alpha.item() == pytest.approx(3 - 0.1 * (5 * new_w + 7))
    assert {name: value.item() for name, value in logs.items()} == pytest.approx(
        {"loss_a": 36.0, "loss_p": 5 * new_w * 3}
    )
    assert not any(value.requires_grad for value in logs.values())
    assert probes == [False, False], "both batches are seen once"


def test_the_macs_loss_is_the_logarithm_of_the_share_and_zero_near_the_target():
    operators = SPACE.operators(INPUT)
    for target, sign in ((0.9, -1), (0.2, 1)):
        choices = narrow_choices(target)
        share = float(macs(operators, choices.expected_widths()).detach()) / macs(operators, sizes(SPACE.groups))
        assert MacsLoss(SPACE, operators, choices)().item() == pytest.approx(3 * sign * np.log(share), rel=1e-5)
    found = macs(operators, choices.chosen_widths()) / macs(operators, sizes(SPACE.groups))
    assert found < 0.8 * share, "the band is about what the search would end with, not about the mean"
    for factor, zero in ((1.06, False), (1.04, True), (0.96, True), (0.94, False)):
        assert (MacsLoss(SPACE, operators, narrow_choices(found / factor))().item() == 0) == zero, factor


def narrow_choices(target):
    """Half the width with probability 3/5, the whole else."""
    choices = WidthChoices(SPACE.groups, Tas(ratios=(0.5, 1.0), target=target, cost_weight=3.0))
    with torch.no_grad():
        for logits in choices.logits:
            logits.copy_(torch.tensor([np.log(1.5), 0.0]))
    return choices


def test_the_macs_loss_slopes_as_the_difference_quotient_of_the_expected_cost():
    choices = narrow_choices(0.9)  # far above what is found, so descent widens
    choices.double()
    cost, h = MacsLoss(SPACE, SPACE.operators(INPUT), choices), 1e-5
    cost().backward()
    for logits in choices.logits:
        for i, slope in enumerate(logits.grad):
            values = []
            for shift in (h, -2 * h, h):
                with torch.no_grad():
                    logits[i] += shift
                values.append(cost().item())
            assert slope.item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6)
