"""Attention as a fused kernel computes it, on the meta device: the table of all pairs of tokens is never stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count


class Fused(TorchFunctionMode):
    """Takes `scaled_dot_product_attention` for the kernel that devices have for it; `counter` is told its FLOPs.

    A mask that learns, such as Swin's table of positions, has no such kernel on a CPU: then PyTorch's products are
    counted, whose result for all pairs of tokens is stored.
    """

    counter: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, or what stands for it."""
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
            if mask is None or not mask.requires_grad:
                q, k, v = (*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs))[:3]
                return _Attention.apply(self.counter, q, k, v)
        return func(*args, **kwargs)


class _Attention(torch.autograd.Function):
    """Keeps queries, keys, values, the result, and a number for each token."""

    @staticmethod
    def forward(ctx: Any, counter: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [..., N, D], v [..., M, E] -> [..., N, E]."""
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        ctx.counter = counter
        counter.flops += sdpa_flop_count(q.shape, k.shape, v.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Gradients of q, k and v."""
        q, k, v, *_ = ctx.saved_tensors
        ctx.counter.flops += sdpa_backward_flop_count(gradients[0].shape, q.shape, k.shape, v.shape)
        return None, torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
