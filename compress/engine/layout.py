"""How images and weights lie in memory while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VECTOR = 16
"""Channels that a processor's widest registers take at once."""


def layout_of(network: nn.Module) -> torch.memory_format:
    """The memory format in which `network` is trained: channels last, which is the faster one, where it is safe.

    In that format oneDNN gathers the pixels that a strided 1 x 1 convolution reads, whole registers at a time: with
    fewer channels than a register holds, the gradient of the weights writes past the end of what was allocated (seen on
    processors with AVX2). Networks with such a layer are trained in PyTorch's usual format.

    Example::

        network.to(memory_format=layout_of(network))
    """
    unsafe = any(isinstance(module, nn.Conv2d) and _gathers_few(module) for module in network.modules())
    return torch.contiguous_format if unsafe else torch.channels_last


def laid_out(network: nn.Module) -> nn.Module:
    """`network` itself, its weights in the memory format of `layout_of`."""
    return network.to(memory_format=layout_of(network))


def shown_to(network: nn.Module, images: Tensor) -> Tensor:
    """`images` [B, C, H, W] on the device of `network` and in the memory format of `layout_of`."""
    device = next(network.parameters()).device
    return images.to(device).contiguous(memory_format=layout_of(network))


def _gathers_few(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.in_channels // layer.groups < VECTOR
