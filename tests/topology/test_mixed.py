"""Mixed operations: what is computed for all edges at once is the explicit sum of every edge's operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.plan.genotype import DARTS, NATS
from compress.topology import OPERATIONS, DartsSupernetSpace, NatsSupernetSpace
from compress.topology.mixed import Outgoing

SEPARABLE, DILATED = ("sep_conv_3x3", "sep_conv_5x5"), ("dil_conv_3x3", "dil_conv_5x5")


def explicit(mixed: Outgoing, n: int, edge: int, *, stride: int) -> dict[str, nn.Module]:
    """The operations of one edge as modules of their own, with the weights that `mixed` has for it."""
    own = {name: OPERATIONS[name](n, stride, False).train().double() for name in mixed.operations}
    mine = slice(edge * n, (edge + 1) * n)

    def part(conv: nn.Conv2d, kind: int) -> torch.Tensor:
        start = kind * mixed.edges * n
        return conv.weight[start + edge * n : start + (edge + 1) * n]

    state = {}
    for name, conv in mixed.plain.items():
        state[name] = {"conv.weight": conv.conv.weight[mine]}
    for i, name in enumerate((*SEPARABLE, *DILATED) if mixed.depthwise else ()):
        deep = mixed.depthwise
        first = {"depthwise1.weight": deep.depthwise1[i].weight[mine], "pointwise1.weight": part(deep.pointwise1, i)}
        if name in SEPARABLE:
            second = {"depthwise2.weight": deep.depthwise2[i].weight[mine]}
            state[name] = {**first, **second, "pointwise2.weight": part(deep.pointwise2, i)}
        else:
            state[name] = {key.replace("1", ""): value for key, value in first.items()}
    if stride > 1:
        state["skip_connect"] = dict(mixed.reduces[edge].named_parameters())
    for name, tensors in state.items():
        missing, unexpected = own[name].load_state_dict({k: v.detach() for k, v in tensors.items()}, strict=False)
        assert not unexpected
        assert all("running" in key or "tracked" in key for key in missing)
    if mixed.pool_norms:
        for name in ("max_pool_3x3", "avg_pool_3x3"):
            own[name] = nn.Sequential(own[name], nn.BatchNorm2d(n, affine=False).double()).train()
    return own


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("cells", [NATS, DARTS], ids=lambda cells: cells.name)
def test_the_mixed_operation_is_the_explicit_sum_and_so_is_its_gradient(cells, stride):
    torch.manual_seed(0)
    n, edges = 4, 3
    mixed = Outgoing(n, edges, cells.operations, stride=stride, normed_pools=cells is DARTS).train().double()
    x = torch.randn(5, n, 8, 8, dtype=torch.float64)
    weights = torch.rand(edges, len(cells.operations), dtype=torch.float64).requires_grad_()
    outs = mixed(x, weights)
    sums = []
    for edge in range(edges):
        own = explicit(mixed, n, edge, stride=stride)
        sums.append(sum(weights[edge, i] * own[name](x) for i, name in enumerate(cells.operations)))
    torch.testing.assert_close(outs, sums)
    factors = torch.randn(edges, *outs[0].shape, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad(sum((f * out).sum() for f, out in zip(factors, found, strict=True)), weights)[0]
        for found in (outs, sums)
    )
    torch.testing.assert_close(ours, theirs)
    assert float(theirs.abs().max()) > 1e-3


def test_weights_of_zero_leave_nothing_and_none_adds_nothing():
    torch.manual_seed(0)
    mixed = Outgoing(4, 2, NATS.operations, stride=1, normed_pools=False).train()
    x = torch.randn(2, 4, 8, 8)
    weights = torch.zeros(2, 5)
    weights[1, NATS.operations.index("none")] = 1.0
    assert all(float(out.detach().abs().max()) == 0 for out in mixed(x, weights))


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_go_by_and_are_shuffled(stride):
    torch.manual_seed(0)
    mixed = Outgoing(8, 2, DARTS.operations, stride=stride, partial=4, normed_pools=True).train()
    x = torch.randn(3, 8, 8, 8)
    out = mixed(x, torch.zeros(2, 8))[0]
    passed = nn.functional.max_pool2d(x, 2) if stride == 2 else x
    # Two of eight channels went through the operations, whose weights are zero; of every four the first is theirs.
    assert torch.equal(out[:, 0::4], torch.zeros_like(out[:, 0::4]))
    by = torch.stack([out[:, i] for i in range(8) if i % 4], 1)
    assert torch.equal(by, torch.stack([passed[:, 2 + (i // 3) + 2 * (i % 3)] for i in range(6)], 1))


def test_running_statistics_are_those_of_batchnorm():
    from compress.topology.mixed import ScaledNorm

    torch.manual_seed(0)
    ours, theirs = ScaledNorm(3), nn.BatchNorm2d(3, affine=False)
    scale = torch.rand(3) + 0.5
    for momentum in (0.1, 0.1, None):
        x = torch.randn(4, 3, 5, 5) * 2 + 1
        ours.momentum = theirs.momentum = momentum
        torch.testing.assert_close(ours(x, scale), theirs(x) * scale[:, None, None])
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x, scale), theirs(x) * scale[:, None, None])
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_224_scores_and_their_shapes():
    darts, nats = DartsSupernetSpace(4, 3), NatsSupernetSpace(4, 1)
    for space, scores in ((darts, 224), (nats, 30)):
        weights = space.build().weights(torch.device("cpu"))
        assert sum(each.numel() for each in weights.values()) == scores
        assert list(weights) == list(space.cells.cells)
    assert tuple(darts.build()(torch.randn(2, 3, 16, 16)).shape) == (2, 10)


def test_edge_norm_shares_a_node_among_its_edges():
    space = DartsSupernetSpace(4, 3, partial=4, edge_norm=True)
    torch.manual_seed(0)
    logits = {"operations": torch.randn(14, 8), "edges": torch.randn(14)}
    weights = space.relaxed(logits)
    into = [node for _, node in DARTS.edges]
    for node in DARTS.node_numbers:
        total = sum(float(row.sum()) for row, other in zip(weights, into, strict=True) if other == node)
        assert abs(total - 1) < 1e-6
    # Equal operations: the share of an edge alone decides.
    assert torch.argmax(space.relaxed({**logits, "operations": torch.zeros(14, 8)})[:2].sum(1)) == torch.argmax(
        logits["edges"][:2]
    )
    # Without a search, as where its networks' mean gets statistics of its own, all edges are equal.
    assert tuple(space.build()(torch.randn(2, 3, 16, 16)).shape) == (2, 10)


def test_a_supernet_is_a_space_without_groups():
    space = DartsSupernetSpace(4, 3)
    assert space.groups == ()
    assert DartsSupernetSpace(**space.arch) == space
    state = torch.get_rng_state()
    assert space.empty().state_dict().keys() == space.build().state_dict().keys()
    assert not torch.equal(torch.get_rng_state(), state), "build draws"
    torch.set_rng_state(state)
    space.empty()
    assert torch.equal(torch.get_rng_state(), state)
    names = [operator.name for operator in space.operators((3, 16, 16))]
    assert len(names) == len(set(names)) > 100
