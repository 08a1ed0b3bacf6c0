"""MMDetection's Swin as a faster graph: one Gather into the windows, one back, as timm's has them.

MMDetection takes maps of any size and lays out windows and masks at every call. An exported file takes one size: what
hangs on it is computed once, at the first call after the rewriting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...export.onnx_file import HARD_MASK
from ...export.windows import as_product, attend, into_windows, window_order
from ..swin import MaskedShiftWindowMSA, SlicedWindowMSA


class GatheredShiftWindowMSA(MaskedShiftWindowMSA):
    """Shifted-window attention in eval mode on maps of one size.

    Attention between regions of a shifted map is exactly 0, which changes outputs by less than float32 resolves and
    spares processors denormal numbers.
    """

    apart = HARD_MASK
    resolution: tuple[int, int] | None = None
    order: Tensor
    back: Tensor

    def forward(self, query: Tensor, hw_shape: Sequence[int]) -> Tensor:
        """Tokens [B, H * W, C] of a map of `hw_shape` (H, W) -> the same shape."""
        if self.resolution != tuple(hw_shape):
            self._lay_out((int(hw_shape[0]), int(hw_shape[1])), query)
        return self.w_msa(into_windows(query, self.order)).index_select(1, self.back)

    def _lay_out(self, resolution: tuple[int, int], like: Tensor) -> None:
        size, shift = self.window_size, self.shift_size
        order, back = window_order(resolution, (size, size), (shift, shift), padded_first=True)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", back, persistent=False)
        mask = None
        if shift > 0:
            height, width = (side + -side % size for side in resolution)
            mask = self.mask(height, width, like).unsqueeze(1)
        self.w_msa.register_buffer("mask_W1NN", mask, persistent=False)
        self.resolution = resolution


class GatheredWindowMSA(SlicedWindowMSA):
    """Window attention on all windows of a map at once."""

    bias_1HNN: Tensor
    mask_W1NN: Tensor | None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens [B, T, C], one window after the other, -> the same shape; `mask` in place of the stored one."""
        area = self.relative_position_index.shape[0]
        options: Any = {"scale": self.scale, "bias_1HNN": self.bias_1HNN}
        options["mask_W1NN"] = self.mask_W1NN if mask is None else mask
        tokens = self.proj(attend(self.qkv(x.flatten(0, 1)), heads=self.num_heads, area=area, **options))
        return tokens.unflatten(0, (-1, x.shape[1]))

    def look_up(self) -> None:
        """Store the bias of relative positions; there is no mask yet."""
        as_product(self.qkv)
        as_product(self.proj)
        self.register_buffer("mask_W1NN", None, persistent=False)
        index = self.relative_position_index
        bias = self.relative_position_bias_table.detach()[index.view(-1)].view(*index.shape, -1)
        self.register_buffer("bias_1HNN", bias.permute(2, 0, 1).unsqueeze(0).contiguous(), persistent=False)


def gather_windows(network: nn.Module, shifted: type[MaskedShiftWindowMSA] = GatheredShiftWindowMSA) -> None:
    """Give the attention of our Swin backbone in `network`, in eval mode, its form for export, in place.

    `shifted` is the form of what goes around windows.
    """
    for module in network.modules():
        if isinstance(module, SlicedWindowMSA):
            module.__class__ = GatheredWindowMSA
            module.look_up()
        elif isinstance(module, MaskedShiftWindowMSA):
            module.__class__ = shifted
