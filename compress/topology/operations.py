"""The operations on the edges of cells, as modules: those of DARTS (arXiv 1806.09055) and of NATS-Bench (2009.00437).

Shape legend: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Zero(nn.Module):
    """No connection: zeros of the output's shape, without parameters."""

    def __init__(self, n_out: int, stride: int) -> None:
        super().__init__()
        self.n_out, self.stride = n_out, stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> zeros [B, n_out, H / stride, W / stride]."""
        batch, _, height, width = x_BCHW.shape
        return x_BCHW.new_zeros(batch, self.n_out, -(-height // self.stride), -(-width // self.stride))


class ReluConvBn(nn.Module):
    """ReLU, convolution, BatchNorm."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, affine: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(n_out, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, n_out, H / stride, W / stride]."""
        out: Tensor = self.bn(self.conv(F.relu(x_BCHW)))
        return out


class DilatedConv(nn.Module):
    """ReLU, depthwise convolution of dilation 2, pointwise convolution, BatchNorm."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, affine: bool = True) -> None:
        super().__init__()
        self.depthwise = depthwise(n_in, kernel, stride=stride, dilation=2)
        self.pointwise = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(n_out, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, n_out, H / stride, W / stride]."""
        out: Tensor = self.bn(self.pointwise(self.depthwise(F.relu(x_BCHW))))
        return out


class SeparableConv(nn.Module):
    """ReLU, depthwise and pointwise convolution, BatchNorm, twice; the first depthwise one has the stride.

    `inner`: channels between the two halves; None: as many as `n_in`.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, affine: bool = True, inner: int | None = None
    ) -> None:
        super().__init__()
        n_inner = n_in if inner is None else inner
        self.depthwise1 = depthwise(n_in, kernel, stride=stride)
        self.pointwise1 = nn.Conv2d(n_in, n_inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_inner, affine=affine)
        self.depthwise2 = depthwise(n_inner, kernel)
        self.pointwise2 = nn.Conv2d(n_inner, n_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, n_out, H / stride, W / stride]."""
        y = self.bn1(self.pointwise1(self.depthwise1(F.relu(x_BCHW))))
        out: Tensor = self.bn2(self.pointwise2(self.depthwise2(F.relu(y))))
        return out


class FactorizedReduce(nn.Module):
    """Half the resolution without losing pixels: two 1x1 convolutions of stride 2, the second one pixel further on."""

    def __init__(self, n_in: int, n_out: int, *, affine: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(n_in, n_out - n_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(n_out, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, n_out, H / 2, W / 2]; odd sides are rounded up."""
        x = F.relu(x_BCHW)
        # The second convolution starts at pixel 1; one row and column of zeros make up for it where sides are odd.
        moved = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
        out: Tensor = self.bn(torch.cat([self.conv1(x), self.conv2(moved)], dim=1))
        return out


def depthwise(n: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A depthwise convolution of `n` channels that keeps the size at stride 1."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(n, n, kernel, stride=stride, padding=padding, dilation=dilation, groups=n, bias=False)


def average_pool(stride: int = 1) -> nn.AvgPool2d:
    """The mean of the 3x3 pixels around, of those that exist at the border."""
    return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)


def max_pool(stride: int = 1) -> nn.MaxPool2d:
    """The largest of the 3x3 pixels around."""
    return nn.MaxPool2d(3, stride=stride, padding=1)


Make = Callable[..., nn.Module]
"""(channels, stride, affine) -> the operation."""


def _skip(n: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(n, n, affine=affine)


OPERATIONS: Mapping[str, Make] = {
    "none": lambda n, stride, affine: Zero(n, stride),
    "skip_connect": _skip,
    "max_pool_3x3": lambda n, stride, affine: max_pool(stride),
    "avg_pool_3x3": lambda n, stride, affine: average_pool(stride),
    "sep_conv_3x3": lambda n, stride, affine: SeparableConv(n, n, 3, stride=stride, affine=affine),
    "sep_conv_5x5": lambda n, stride, affine: SeparableConv(n, n, 5, stride=stride, affine=affine),
    "dil_conv_3x3": lambda n, stride, affine: DilatedConv(n, n, 3, stride=stride, affine=affine),
    "dil_conv_5x5": lambda n, stride, affine: DilatedConv(n, n, 5, stride=stride, affine=affine),
    "nor_conv_1x1": lambda n, stride, affine: ReluConvBn(n, n, 1, stride=stride, affine=affine),
    "nor_conv_3x3": lambda n, stride, affine: ReluConvBn(n, n, 3, stride=stride, affine=affine),
}
"""Name -> what makes the operation from `channels` to `channels`; in a search the BatchNorms have no parameters."""
