"""FairDARTS's zero-one loss: its value by hand, its gradient against autograd, what it leaves alone."""

import torch

from compress.penalties import ZeroOne


def test_the_value_is_the_mean_distance_from_a_half():
    penalty = ZeroOne(10.0)
    assert float(penalty.value([torch.zeros(3, 2), torch.zeros(3, 2)])) == 0
    assert abs(float(penalty.value([torch.full((3, 2), 40.0), torch.full((3, 2), -40.0)])) + 10 / 4) < 1e-6


def test_the_gradient_is_autograds_and_is_added():
    generator = torch.Generator().manual_seed(0)
    alphas = [torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    penalty = ZeroOne(3.0)
    wanted = torch.autograd.grad(penalty.value(alphas), alphas)
    gradients = [torch.ones(4, 3, dtype=torch.float64) for _ in alphas]
    penalty.add_gradient(alphas, gradients)
    torch.testing.assert_close([g - 1 for g in gradients], list(wanted))
    assert float(wanted[0].abs().max()) > 1e-3


def test_scores_of_edges_are_left_alone():
    edges, gradient = torch.randn(4), torch.zeros(4)
    operations = torch.randn(4, 3)
    penalty = ZeroOne(3.0)
    penalty.add_gradient([operations, edges], [torch.zeros(4, 3), gradient])
    assert torch.equal(gradient, torch.zeros(4))
    assert torch.equal(penalty.value([operations, edges]), penalty.value([operations]))
