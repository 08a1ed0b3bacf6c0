"""The shared scores: one container, any number of gated networks."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from compress.plan import UserError
from compress.spaces import Alphas, Group, PreResNetSpace, columns, norm_scales, rows, sizes

SPACE = PreResNetSpace(11, 5, score_inputs=True)


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def networks():
    torch.manual_seed(0)
    u = SPACE.build().eval()
    for parameter in (w := deepcopy(u)).parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return u, w


def test_gates_start_as_the_identity(networks, images):
    u, _ = networks
    plain = u(images)
    Alphas(SPACE.groups).attach(u)
    assert torch.equal(u(images), plain)


def test_two_networks_share_the_scores_and_their_gradients_add_up(networks, images):
    u, w = networks
    alphas = Alphas(SPACE.groups)
    alphas.attach(u)
    alphas.attach(w)
    parameters = list(alphas.parameters())
    alone = [torch.autograd.grad(net(images).square().sum(), parameters) for net in (u, w)]
    assert all(gradient.abs().sum() > 0 for grads in alone for gradient in grads), "every gate is passed through"
    (u(images).square().sum() + w(images).square().sum()).backward()
    for parameter, from_u, from_w in zip(parameters, *alone, strict=True):
        torch.testing.assert_close(parameter.grad, from_u + from_w)
    with torch.no_grad():
        alphas["head.input"].zero_()
    bias = u.fc.bias.expand(2, -1)
    assert torch.equal(u(images), bias), "both follow a change of the container"
    assert torch.equal(w(images), w.fc.bias.expand(2, -1))


def test_the_networks_state_does_not_mention_the_scores(networks):
    u, w = networks
    before = list(u.state_dict())
    alphas = Alphas(SPACE.groups)
    alphas.attach(u)
    assert list(u.state_dict()) == before
    assert {id(p) for p in u.parameters()}.isdisjoint(id(p) for p in alphas.parameters())
    assert sum(p.numel() for p in alphas.parameters()) == sum(sizes(SPACE.groups).values())
    w.load_state_dict(u.state_dict())


def test_handles_detach(networks, images):
    u, _ = networks
    plain = u(images)
    alphas = Alphas(SPACE.groups)
    handles = alphas.attach(u)
    assert len(handles) == len(SPACE.groups)
    alphas.load_scores({name: torch.full((n,), 0.5) for name, n in sizes(SPACE.groups).items()})
    assert not torch.equal(u(images), plain)
    for handle in handles:
        handle.remove()
    assert torch.equal(u(images), plain)


def test_scores_are_copies_and_load_back():
    alphas = Alphas(SPACE.groups)
    scores = {name: torch.randn(n) for name, n in sizes(SPACE.groups).items()}
    alphas.load_scores(scores)
    found = alphas.scores()
    assert list(found) == [group.name for group in SPACE.groups]
    assert all(torch.equal(found[name], scores[name]) for name in scores)
    found["layer1.0.conv1"].zero_()
    assert torch.equal(alphas.scores()["layer1.0.conv1"], scores["layer1.0.conv1"])


def test_a_gate_multiplies_the_channels_of_linear_layers_on_tokens_and_of_convolutions():
    net = nn.Sequential(nn.Linear(3, 4, bias=False))
    alphas = Alphas([Group("tokens", 3, (), columns("0"))])
    alphas.attach(net)
    alphas.load_scores({"tokens": torch.tensor([2.0, 0.0, -1.0])})
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(net(x), (x * torch.tensor([2.0, 0.0, -1.0])) @ net[0].weight.T)


def test_norm_scales_are_the_networks_own_parameters(networks):
    u, _ = networks
    scales = norm_scales(u, SPACE.groups)
    assert scales["layer2.0.input"] is u.layer2[0].bn1.weight
    assert scales["layer2.0.conv1"] is u.layer2[0].bn2.weight
    assert scales["layer2.0.conv2"] is u.layer2[0].bn3.weight
    assert scales["head.input"] is u.bn.weight
    assert {name: len(scale) for name, scale in scales.items()} == sizes(SPACE.groups)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(4, affine=False)])
def test_a_group_without_a_scale_is_refused_by_name(norm):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1))
    with pytest.raises(UserError, match=r"group 'mid' has no BatchNorm with a scale"):
        norm_scales(net, [Group("mid", 4, rows("0", "1"), columns("2"))])
