"""Proximal maps minimise what they claim to."""

import pytest
import torch

from compress.penalties import group_soft_threshold, hard_threshold, soft_threshold

GRID = torch.arange(-80_000, 80_001, dtype=torch.float64) / 20_000


@pytest.mark.parametrize("x", [-2.3, -0.9, -0.2, 0.0, 0.4, 1.1, 3.0])
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_scalar_maps_are_the_minimisers(x, t):
    value = torch.tensor([x], dtype=torch.float64)
    soft = GRID[(t * GRID.abs() + (GRID - x).square() / 2).argmin()]
    hard = GRID[(t**2 / 2 * (GRID != 0) + (GRID - x).square() / 2).argmin()]
    assert float(soft_threshold(value, t)) == pytest.approx(float(soft), abs=1e-4)
    assert float(hard_threshold(value, t)) == pytest.approx(float(hard), abs=1e-4)


def test_the_hard_threshold_itself_goes():
    assert hard_threshold(torch.tensor([0.5, -0.5, 0.75, -0.75, 0.0]), 0.5).tolist() == [0, 0, 0.75, -0.75, 0]


def test_group_map_shortens_every_row_by_t_or_to_zero():
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).view(3, 2, 1, 1)
    shrunk = group_soft_threshold(rows, 1.0).flatten(1)
    torch.testing.assert_close(shrunk, torch.tensor([[2.4, 3.2], [0.0, 0.0], [0.0, 0.0]]))


def test_group_map_satisfies_the_optimality_condition():
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = group_soft_threshold(x, 1.5)
    for row_u, row_x in zip(u, x, strict=True):
        if row_u.any():
            torch.testing.assert_close(row_u - row_x, -1.5 * row_u / row_u.norm())
        else:
            assert row_x.norm() <= 1.5
