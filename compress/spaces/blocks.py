"""The groups of a transformer's block, whoever built it: the dimensions of its heads and its hidden units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from .groups import Group, Layout, columns, rows


def attention_group(name: str, size: int, *, heads: int, qkv: str, proj: str) -> Group:
    """The `size` dimensions of a head, shared by query, key and value and by all `heads` of attention `name`.

    Rows of the layer `qkv` are [3, heads, size], columns of `proj` [heads, size]. The scores multiply what `qkv`
    writes, since `proj` sees one of three factors of a product only. The query takes up that a narrower head divides
    its logits by another root.
    """
    query, key, value = (
        rows(qkv, layout=Layout(offset=part * heads * size, copies=heads), exponent=exponent)
        for part, exponent in enumerate((0.5, 0.0, 0.0))
    )
    read = columns(proj, layout=Layout(copies=heads))
    return Group(name, size, (*query, *key, *value), read, gated="writes", kind="attention")


def mlp_group(name: str, size: int, *, into: str, out: str) -> Group:
    """The `size` hidden units between the layers `into` and `out` of MLP `name`."""
    return Group(name, size, rows(into), columns(out), kind="mlp")


def narrow_heads(model: nn.Module, groups: Iterable[Group], widths: Mapping[str, int]) -> None:
    """Tell timm's attention modules of `model` how many dimensions their heads have at `widths`, in place."""
    for group in groups:
        width = widths.get(group.name, group.size)
        if group.kind == "attention" and width != group.size:
            attn: Any = model.get_submodule(group.name)
            attn.scale = width**-0.5
            attn.head_dim, attn.attn_dim = width, width * attn.num_heads


def plain_attention(module: Any) -> str | None:
    """Why timm's attention `module` has dimensions that something else than q, k, v and `proj` reads; None: it has not.

    Modules that are no attention of timm's with one layer for q, k and v are named as such.
    """
    from timm import layers
    from timm.models.swin_transformer import WindowAttention

    plain: Any = layers
    if type(module) not in (plain.Attention, WindowAttention):
        return f"attention of type {type(module).__name__}"
    norms = ("q_norm", "k_norm", "norm")
    if type(module) is plain.Attention and (
        module.gate is not None or not all(isinstance(getattr(module, name), nn.Identity) for name in norms)
    ):
        return "attention with a norm or a gate of the head's dimensions"
    return None


def attention_of(name: str, attn: Any) -> Group:
    """The dimensions of the heads of timm's plain attention `attn`, a module called `name`."""
    size = attn.proj.in_features // attn.num_heads
    return attention_group(name, size, heads=attn.num_heads, qkv=f"{name}.qkv", proj=f"{name}.proj")
