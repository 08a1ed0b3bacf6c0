"""The latency penalty: value, gradient by finite differences, both sides of a group, monotone. Seconds."""

from functools import lru_cache
from itertools import pairwise

import pytest
import torch
from latency_tables import made_up_table

from compress.costs import SoftLatency
from compress.penalties import LatencyPenalty
from compress.plan import UserError
from compress.spaces import MobileNetV2Space, PreResNetSpace

INPUT = (3, 32, 32)
SPACES = {
    "preresnet": PreResNetSpace(11, 4, score_inputs=True),
    "mobilenetv2": MobileNetV2Space(10, multiplier=0.25, score_outputs=True),
}


@lru_cache
def made(name):
    """The table, the operators and the names of the groups of a space."""
    space = SPACES[name]
    return made_up_table(space, INPUT, multiple=2), space.operators(INPUT), [group.name for group in space.groups]


def penalty(name, gamma=0.7, **changes):
    table, operators, groups = made(name)
    return LatencyPenalty(gamma, SoftLatency(table, operators), groups, **changes)


def alphas(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(group.size, generator=generator, dtype=torch.float64) for group in SPACES[name].groups]


def gradient(found, scores):
    gradients = [torch.zeros_like(a) for a in scores]
    found.add_gradient(scores, gradients)
    return gradients


@pytest.mark.parametrize("name", SPACES)
def test_large_scores_count_as_channels_and_zeros_as_none(name):
    """Masked scores cost what the table says of the sliced widths."""
    table, operators, groups = made(name)
    sizes = [group.size for group in SPACES[name].groups]
    assert penalty(name).value([torch.full((n,), 1e6).double() for n in sizes]).item() == pytest.approx(0.7)
    kept = [table.widths[group][len(table.widths[group]) // 2] for group in groups]
    masked = [
        torch.cat([torch.full((k,), -1e6), torch.zeros(n - k)]).double() for k, n in zip(kept, sizes, strict=True)
    ]
    expected = table.predict(operators, dict(zip(groups, kept, strict=True))).ratio
    assert expected < 0.6
    assert penalty(name).value(masked).item() == pytest.approx(0.7 * expected)


def test_a_score_of_size_tau_counts_as_half_a_channel():
    table, operators, groups = made("preresnet")
    half = {group.name: group.size // 2 for group in SPACES["preresnet"].groups}
    scores = [torch.full((2 * half[group],), 0.3, dtype=torch.float64) for group in groups]
    found = penalty("preresnet", 1.0, tau=0.3).value(scores).item()
    assert found == pytest.approx(table.predict(operators, half, interpolate=True).ratio)


@pytest.mark.parametrize("name", SPACES)
def test_gradient_equals_finite_differences_in_every_group(name):
    found, scores, h = penalty(name), alphas(name), 1e-6
    gradients = gradient(found, scores)
    generator = torch.Generator().manual_seed(1)
    for i, (group, own) in enumerate(zip(SPACES[name].groups, gradients, strict=True)):
        along = torch.randn(group.size, generator=generator, dtype=torch.float64)
        ends = [
            found.value([a + sign * h * along if j == i else a for j, a in enumerate(scores)]).item()
            for sign in (1, -1)
        ]
        # Differences of the value are good to some 1e-10.
        assert float(own @ along) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-9), group.name
        assert own.abs().max() > 1e-7, group.name


@pytest.mark.parametrize("name", SPACES)
def test_gradient_equals_autograd_of_the_value_and_is_added(name):
    found, scores = penalty(name), [a.requires_grad_() for a in alphas(name)]
    expected = torch.autograd.grad(found.value(scores), scores)
    gradients = [torch.full_like(a, 2.0) for a in scores]
    with torch.no_grad():
        found.add_gradient(scores, gradients)
    for own, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(own - 2, other, rtol=1e-9, atol=1e-12)


def test_zeros_stay_and_the_sign_of_a_score_does_not_matter():
    found, scores = penalty("preresnet"), alphas("preresnet")
    for a in scores:
        a[::3] = 0.0
    gradients = gradient(found, scores)
    mirrored = gradient(found, [-a for a in scores])
    for a, own, other in zip(scores, gradients, mirrored, strict=True):
        assert own.isfinite().all()
        assert (own[a == 0] == 0).all()
        assert (own * a >= 0).all(), "every score is pulled to zero"
        assert torch.equal(own, -other)
    assert all((g == 0).all() for g in gradient(found, [torch.zeros_like(a) for a in scores]))


def test_the_savings_of_producers_and_readers_are_added():
    """layer1.0.conv1's channels are rows of conv1 and bn2, columns of conv2, and nothing else's."""
    table, operators, groups = made("preresnet")
    i, scores = groups.index("layer1.0.conv1"), alphas("preresnet")
    whole = gradient(penalty("preresnet"), scores)[i]
    parts = {}
    for op in operators:
        latency = SoftLatency(table, [op])
        if groups[i] in latency.groups:
            parts[op.name] = gradient(LatencyPenalty(0.7, latency, groups), scores)[i]
    assert parts.keys() == {"layer1.0.conv1", "layer1.0.bn2", "layer1.0.conv2"}
    for name in ("layer1.0.conv1", "layer1.0.conv2"):
        assert parts[name].norm() > 0.1 * whole.norm()
    torch.testing.assert_close(sum(parts.values()), whole, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", SPACES)
def test_the_value_falls_as_channels_go(name):
    found, scores = penalty(name), [torch.ones_like(a) for a in alphas(name)]
    values = [found.value(scores).item()]
    for quarter in range(3):
        for a in scores:
            a[quarter::4] = 0.0
            values.append(found.value(scores).item())
    assert all(after < before for before, after in pairwise(values))
    assert values[-1] < 0.5 * values[0]


def test_scores_may_stand_in_any_order():
    table, operators, groups = made("preresnet")
    scores = alphas("preresnet")
    turned = LatencyPenalty(0.7, SoftLatency(table, operators), groups[::-1])
    assert turned.value(scores[::-1]).item() == pytest.approx(penalty("preresnet").value(scores).item(), rel=1e-12)
    for own, other in zip(gradient(turned, scores[::-1])[::-1], gradient(penalty("preresnet"), scores), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-12)


def test_at_root_mean_square_one_the_pull_drives_scores_apart():
    """What `fixed_scale` leaves of it: nothing at equal scores, else small ones fall and large ones rise."""
    equal = [torch.ones_like(a) for a in alphas("preresnet")]
    for a, pull in zip(equal, gradient(penalty("preresnet"), equal), strict=True):
        torch.testing.assert_close(pull, pull.mean() * a, rtol=1e-12, atol=0)
    uneven = [torch.linspace(0.5, 1.5, len(a), dtype=torch.float64) for a in equal]
    uneven = [a / a.square().mean().sqrt() for a in uneven]
    for a, pull in zip(uneven, gradient(penalty("preresnet", 1.0), uneven), strict=True):
        stepped = a - 10 * pull
        stepped = stepped / stepped.square().mean().sqrt()
        assert stepped[0] < a[0]
        assert stepped[-1] > a[-1]
        assert stepped.abs().mean() < a.abs().mean()


def test_smooth_and_without_a_strength():
    found, scores = penalty("preresnet"), alphas("preresnet")
    found.prox(scores, step=1.0)
    assert all(torch.equal(a, b) for a, b in zip(scores, alphas("preresnet"), strict=True))
    assert found.strength(10.0, 0.9) is None
    assert all((g == 0).all() for g in gradient(penalty("preresnet", 0.0), scores))


def test_what_cannot_be_weighed_is_refused():
    table, operators, groups = made("preresnet")
    latency = SoftLatency(table, operators)
    with pytest.raises(UserError, match=r"no scores for 'layer1\.0\.conv1'"):
        LatencyPenalty(1.0, latency, [group for group in groups if group != "layer1.0.conv1"])
    with pytest.raises(UserError, match=r"^latency: depends on no group's width, .*; score some group$"):
        LatencyPenalty(1.0, SoftLatency(table, operators[:1]), groups)
    for tau in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"^search\.latency_tau = "):
            LatencyPenalty(1.0, latency, groups, tau=tau)
