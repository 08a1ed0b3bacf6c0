"""Mixed operations (thesis 3.6), computed fast: every edge that leaves one state at once.

The mixed operation of an edge is the sum of its operations' outputs, each times its weight. Edges that leave one state
share what they have in common: one ReLU, one pooling, and one convolution per kernel for all of them, grouped where
each edge has channels of its own. `none` is not computed. The weight of an operation that ends in a BatchNorm is the
scale of that BatchNorm, which costs nothing. `benchmarks/mixed_operations.py` measures what this gains.

Shape legend: B batch, C channels, H and W height and width, E edges that leave the state, O operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .operations import FactorizedReduce, average_pool, depthwise, max_pool


class ScaledNorm(nn.BatchNorm2d):
    """BatchNorm without parameters of its own, whose scale is given with the input."""

    no_shift: Tensor

    def __init__(self, n: int) -> None:
        super().__init__(n, affine=False)
        self.register_buffer("no_shift", torch.zeros(n), persistent=False)

    def forward(self, x_BCHW: Tensor, scale_C: Tensor | None = None) -> Tensor:
        """The normalised input times `scale_C`; None for 1."""
        factor = self.momentum
        if self.num_batches_tracked is not None and self.training:
            self.num_batches_tracked.add_(1)
            if factor is None:  # a plain mean, as PyTorch's
                factor = 1.0 / float(self.num_batches_tracked)
        shift = None if scale_C is None else self.no_shift
        return F.batch_norm(
            x_BCHW, self.running_mean, self.running_var, scale_C, shift, self.training, factor or 0.0, self.eps
        )


class Convolutions(nn.Module):
    """The plain convolutions (ReLU, convolution, BatchNorm) of E edges, [B, C, H, W] -> [B, E C, H, W]."""

    def __init__(self, n: int, edges: int, kernel: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n, edges * n, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = ScaledNorm(edges * n)
        self.n = n

    def forward(self, relu_BCHW: Tensor, weight_E: Tensor) -> Tensor:
        """Each edge's channels times its weight, of the input after its ReLU."""
        out: Tensor = self.bn(self.conv(relu_BCHW), weight_E.repeat_interleave(self.n))
        return out


class DepthwiseConvolutions(nn.Module):
    """The separable and dilated convolutions of E edges, by kernel sizes; `[B, C, H, W] -> [B, E C, H, W]` each.

    The pointwise halves of all kernels are one grouped convolution.
    """

    def __init__(self, n: int, edges: int, kernels: Sequence[tuple[str, int]], *, stride: int) -> None:
        super().__init__()
        self.n, self.edges, self.kernels = n, edges, tuple(kernels)
        self.separable = [kernel for kind, kernel in kernels if kind == "sep"]
        wide = edges * n
        self.depthwise1 = nn.ModuleList(
            depthwise(wide, kernel, stride=stride, dilation=2 if kind == "dil" else 1) for kind, kernel in kernels
        )
        n_groups = edges * len(self.kernels)
        self.pointwise1 = nn.Conv2d(n * n_groups, n * n_groups, 1, groups=n_groups, bias=False)
        self.bn1 = ScaledNorm(n * n_groups)
        self.depthwise2 = nn.ModuleList(depthwise(wide, kernel) for kernel in self.separable)
        n_groups = edges * len(self.separable)
        self.pointwise2 = nn.Conv2d(n * n_groups, n * n_groups, 1, groups=n_groups, bias=False)
        self.bn2 = ScaledNorm(n * n_groups)

    def forward(self, relu_BCHW: Tensor, weights_KE: Tensor) -> list[Tensor]:
        """One tensor [B, E C, H, W] for each kernel: first the separable ones, whose weights come first."""
        wide, cut = relu_BCHW.repeat(1, self.edges, 1, 1), len(self.separable)
        y = self.pointwise1(torch.cat([conv(wide) for conv in self.depthwise1], 1))
        scale = torch.cat([torch.ones_like(weights_KE[:cut]), weights_KE[cut:]]).flatten()
        parts = self.bn1(y, scale.repeat_interleave(self.n)).chunk(len(self.kernels), 1)
        halves = [conv(F.relu(part)) for conv, part in zip(self.depthwise2, parts[:cut], strict=True)]
        y = self.bn2(self.pointwise2(torch.cat(halves, 1)), weights_KE[:cut].flatten().repeat_interleave(self.n))
        return [*y.chunk(cut, 1), *parts[cut:]]


class Outgoing(nn.Module):
    """The mixed operations of the `edges` edges that leave one state of `n` channels, at one stride.

    With `partial` k only the first n / k channels pass through the operations and the others go by (PC-DARTS, arXiv
    1907.05737); a channel shuffle mixes them. `normed_pools`: pooling has a BatchNorm behind it, as in DARTS.
    """

    def __init__(
        self, n: int, edges: int, operations: Sequence[str], *, stride: int, partial: int = 1, normed_pools: bool
    ) -> None:
        super().__init__()
        self.operations, self.edges, self.partial = tuple(operations), edges, partial
        self.through = n // partial
        self.plain = nn.ModuleDict(
            {name: Convolutions(self.through, edges, int(name[-1]), stride=stride) for name in self._of("nor_conv")}
        )
        kernels = [(name[:3], int(name[-1])) for name in (*self._of("sep_conv"), *self._of("dil_conv"))]
        self.depthwise = DepthwiseConvolutions(self.through, edges, kernels, stride=stride) if kernels else None
        pools = {"max_pool_3x3": max_pool, "avg_pool_3x3": average_pool}
        self.pools = nn.ModuleDict({name: pools[name](stride) for name in self._of("max_pool", "avg_pool")})
        self.pool_norms = nn.ModuleDict({name: ScaledNorm(self.through) for name in self.pools if normed_pools})
        self.reduces = nn.ModuleList(
            FactorizedReduce(self.through, self.through, affine=False) for _ in range(edges if stride > 1 else 0)
        )
        self.bypass = nn.MaxPool2d(2, 2) if stride > 1 and partial > 1 else nn.Identity()

    def _of(self, *kinds: str) -> list[str]:
        return [name for name in self.operations if name.startswith(kinds)]

    def forward(self, x_BCHW: Tensor, weights_EO: Tensor) -> list[Tensor]:
        """The mixed output of each edge, [B, C, H / stride, W / stride], for the weights of its operations."""
        own = x_BCHW[:, : self.through] if self.partial > 1 else x_BCHW
        weights = dict(zip(self.operations, weights_EO.unbind(1), strict=True))
        shared = self._shared(own)
        outs = []
        wide = self._convolved(own, weights)
        for edge, conv in enumerate(wide.chunk(self.edges, 1)):
            out = conv
            for name, value in shared.items():
                out = torch.addcmul(out, value, weights[name][edge])
            if self.reduces:
                out = torch.addcmul(out, self.reduces[edge](own), weights["skip_connect"][edge])
            outs.append(out)
        if self.partial == 1:
            return outs
        rest = self.bypass(x_BCHW[:, self.through :])
        return [_shuffled(torch.cat([out, rest], 1), self.partial) for out in outs]

    def _shared(self, x: Tensor) -> dict[str, Tensor]:
        """What is the same for every edge: the state itself where a skip keeps it, and its poolings."""
        shared = {} if self.reduces else {"skip_connect": x}
        for name, pool in self.pools.items():
            pooled = pool(x)
            shared[name] = self.pool_norms[name](pooled) if name in self.pool_norms else pooled
        return shared

    def _convolved(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The weighted sum of all convolutions, [B, E C, H, W]."""
        y = F.relu(x)
        parts = [conv(y, weights[name]) for name, conv in self.plain.items()]
        if self.depthwise is not None:
            names = [*self._of("sep_conv"), *self._of("dil_conv")]
            parts += self.depthwise(y, torch.stack([weights[name] for name in names]))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def _shuffled(x_BCHW: Tensor, parts: int) -> Tensor:
    """Channel c of part p comes to c * parts + p."""
    batch, channels, height, width = x_BCHW.shape
    return x_BCHW.view(batch, parts, channels // parts, height, width).transpose(1, 2).flatten(1, 2)
