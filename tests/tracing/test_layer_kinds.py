"""Layers of all kinds are sliced exactly, counted as PyTorch counts them, and read back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compress
from compress.costs import count_macs, count_params
from compress.plan import UserError
from compress.tracing import largest_gap, masked_outputs, outputs_of

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def between(layer):
    """A network with `layer` between two convolutions."""

    def make():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), layer(), nn.ReLU(), nn.Conv2d(16, 6, 1), nn.ReLU(), Mean(6)
        )

    return make


class Mean(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.head = nn.Linear(n, 4)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


class Up(nn.Module):
    """A U-Net with one skip: transposed convolutions with and without a bias, as many channels in as out."""

    def __init__(self, norm=nn.Identity, **options):
        super().__init__()
        torch.manual_seed(0)
        self.early, self.late = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1, stride=2)
        self.up = nn.ConvTranspose2d(16, 16, 2, stride=2, **options)
        self.norm, self.deep = norm(24), nn.ConvTranspose2d(24, 8, 3, padding=1)
        self.each, self.out = nn.ConvTranspose2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(8, 2, 1)

    def forward(self, x):
        a = torch.relu(self.early(x))
        y = torch.cat([torch.relu(self.up(torch.relu(self.late(a)))), a], 1)
        return self.out(torch.relu(self.each(torch.relu(self.deep(self.norm(y))))))


class TwoNorms(nn.Module):
    """A stream through GroupNorms of unequal groups, and twice side by side into one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.n = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(8, 16)
        self.b, self.m = nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16)
        self.both, self.mean = nn.GroupNorm(4, 32, affine=False), Mean(32)

    def forward(self, x):
        x = torch.relu(self.n(self.a(x)))
        y = x + self.m(self.b(x))
        return self.mean(torch.relu(self.both(torch.cat([x, y], 1))))


class Encoder(nn.Module):
    """Patches through PyTorch's encoder layer, which is fused in evaluation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.layer(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Scaled(nn.Module):
    """Bare parameters that scale and shift channels, as in ConvNeXt."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner, self.back = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)
        self.gamma, self.shift = nn.Parameter(torch.ones(1, 8, 1, 1)), nn.Parameter(torch.zeros(12, 1, 1))
        self.mean = Mean(8)

    def forward(self, x):
        x = self.stem(x)
        return self.mean(x + self.gamma * self.back(F.gelu(self.inner(x) + self.shift)))


KINDS = [
    (Up, {"early": 8, "late": 16, "up": 16, "deep": 8}),
    (lambda: Up(bias=False), {"early": 8, "late": 16, "up": 16, "deep": 8}),
    (lambda: Up(lambda n: nn.GroupNorm(6, n)), {"early": 2, "late": 16, "up": 4, "deep": 8}),
    (TwoNorms, {"a": 2}),
    (Encoder, {"layer.linear1": 24}),
    (Scaled, {"stem": 8, "inner": 12}),
    (between(lambda: nn.BatchNorm2d(16, affine=False)), {"0": 16, "3": 6}),
    (between(lambda: nn.BatchNorm2d(16, track_running_stats=False)), {"0": 16, "3": 6}),
    (between(lambda: nn.InstanceNorm2d(16)), {"0": 16, "3": 6}),
    (between(lambda: nn.InstanceNorm2d(16, affine=True, track_running_stats=True)), {"0": 16, "3": 6}),
    (between(lambda: nn.GroupNorm(4, 16)), {"0": 4, "3": 6}),
    (between(lambda: nn.GroupNorm(16, 16)), {"0": 16, "3": 6}),
    (between(lambda: nn.GroupNorm(1, 16)), {"3": 6}),
    (between(lambda: nn.PReLU(16)), {"0": 16, "3": 6}),
    (between(nn.PReLU), {"0": 16, "3": 6}),
]


@pytest.mark.parametrize(("make", "groups"), KINDS)
def test_a_layer_of_any_kind_is_sliced_exactly_and_counted(make, groups, tmp_path):
    network = make()
    pruned = compress.prune(network, X, method="magnitude", pruning_ratio=0.4, round_to=1, quiet=True)
    assert pruned.plan.sizes == groups
    for figures, each in ((pruned.before, network), (pruned.after, pruned.model)):
        assert figures == {"params": count_params(each), "macs": count_macs(each, (3, 8, 8))}
    scored = compress.score(network, X, method="magnitude", quiet=True)
    kept = {
        name: torch.zeros(n).index_fill(0, torch.tensor(pruned.plan.kept[name]), 1.0)
        for name, n in pruned.plan.sizes.items()
    }
    masked = masked_outputs(scored.network, scored.space.groups, kept, (X,))
    assert largest_gap(masked, outputs_of(pruned.model, (X,))) < 1e-5
    assert torch.equal(compress.load(pruned.save(tmp_path / "small"), network=make())(X), pruned.model(X))


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm])
def test_a_weight_that_is_computed_of_others_says_how_to_settle_it(wrap):
    network = between(nn.Identity)()
    wrap(network[3])
    with pytest.raises(UserError, match=r"the weight of 3 is computed of others; .*remove_parametrizations"):
        compress.prune(network, X, method="magnitude", pruning_ratio=0.4, quiet=True)


class Recurrent(nn.Module):
    def __init__(self, kind=nn.GRU):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1)
        self.cell, self.head = kind(6, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.cell(torch.relu(self.b(torch.relu(self.a(x)))).mean(2).transpose(1, 2))[0][:, -1])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_what_a_recurrent_layer_reads_stays(kind):
    found = compress.groups_of(Recurrent(kind), X)
    assert [group.name for group in found.groups] == ["a"]
    assert "b" in found.left


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return {"mask": self.b(x), "box": self.c(x)}


def test_a_network_of_two_outputs_is_pruned_and_its_export_says_what_to_do(tmp_path):
    pruned = compress.prune(Heads(), X, method="magnitude", pruning_ratio=0.4, round_to=1, quiet=True)
    assert {name: value.shape[1] for name, value in pruned.model(X).items()} == {"mask": 2, "box": 3}
    with pytest.raises(
        UserError, match="Heads gives 2 outputs; the file has one; wrap it in a module that gives one tensor"
    ):
        pruned.export(tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("conv", "norm", "sides"), [(nn.Conv1d, nn.BatchNorm1d, (16,)), (nn.Conv3d, nn.BatchNorm3d, (4, 4, 4))]
)
def test_signals_and_volumes_have_groups_too(conv, norm, sides):
    layers = conv(2, 8, 3, padding=1), norm(8), nn.ReLU(), conv(8, 6, 3), nn.Flatten(), nn.LazyLinear(4)
    network = nn.Sequential(*layers)
    x = torch.zeros(2, 2, *sides)
    network(x)
    assert {group.name: group.size for group in compress.groups_of(network, x).groups} == {"0": 8, "3": 6}
