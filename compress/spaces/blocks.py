"""The groups of a transformer's block, whoever built it: the dimensions of its heads and its hidden units."""

from __future__ import annotations

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
