"""Names of tensors in foreign checkpoints: what stands before them, and whose they look like."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")

DEEPEST = 8
"""Prefixes that are taken off one after the other."""
FAMILIES: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"conv1.weight", "layer1.0.bn1.weight", "bn.weight"}), "a PreResNet", ""),
    (frozenset({"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"}), "a ResNet", "resnet50"),
    (frozenset({"conv1.0.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"}), "timm's ResNet", "resnet50d"),
    (frozenset({"conv_stem.weight", "blocks.0.0.conv_dw.weight"}), "timm's EfficientNet or MobileNet",
     "efficientnet_b0"),
    (frozenset({"features.0.0.weight", "classifier.1.weight"}), "torchvision's MobileNet or EfficientNet",
     "torchvision:mobilenet_v2"),
    (frozenset({"stem.0.weight", "stages.0.blocks.0.conv_dw.weight"}), "timm's ConvNeXt", "convnext_tiny"),
    (frozenset({"features.0.0.weight", "features.1.0.block.0.weight"}), "torchvision's ConvNeXt",
     "torchvision:convnext_tiny"),
    (frozenset({"stem.conv.weight", "s1.b1.conv1.conv.weight"}), "timm's RegNet", "regnety_008"),
    (frozenset({"stem.0.weight", "trunk_output.block1.block1-0.proj.0.weight"}), "torchvision's RegNet",
     "torchvision:regnet_y_800mf"),
    (frozenset({"patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight"}), "a Swin", ""),
    (frozenset({"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}), "a ViT or DeiT", ""),
)  # fmt: skip
"""Names that a state dict has, whose they are, and a name for space.model; "": a family with a space of its own."""


def shortened(state: Mapping[str, T], own: Collection[str]) -> tuple[dict[str, T], str]:
    """`state` without the parts that all its names begin with and no name of `own` does, and these parts."""
    heads, taken = {name.partition(".")[0] for name in own}, ""
    found = dict(state)
    for _ in range(DEEPEST):
        first = {name.partition(".")[0] for name in found}
        head = next(iter(first), "")
        if len(first) != 1 or head in heads or any(len(name) <= len(head) + 1 for name in found):
            break
        found = {name[len(head) + 1 :]: value for name, value in found.items()}
        taken += f"{head}."
    return found, taken


def prefixes(state: Collection[str], own: Collection[str]) -> list[str]:
    """Every prefix under which `state` has all of `own`, "" among them.

    Counters of batches may be absent.
    """
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    if not needed:
        return [""]
    last = needed[0]
    ends = [name.removesuffix(last) for name in state if name == last or name.endswith(f".{last}")]
    return [prefix for prefix in ends if all(prefix + name in state for name in needed)]


def looks_like(state: Collection[str]) -> tuple[str, str] | None:
    """Whose names these look like, and a name for `space.model`; None: nobody's that is known."""
    return next(((whose, model) for names, whose, model in FAMILIES if all(name in state for name in names)), None)
