"""SiDT: timm's Swin transformers and ViT/DeiT, scored inside their blocks (thesis section 4.3, arXiv 2204.07722).

Scored are, per block, the dimensions of a head, one score vector shared by query, key and value, by all heads and all
windows, and the hidden units of the MLP, after the activation. The residual stream keeps its width. With
`scored="vtp"` it is instead the features in front of every linear layer, as VTP prunes (arXiv 2104.08500): the stream
that a layer reads is then gathered.

Sliced networks are timm's own modules with smaller linear layers. A head of d' of d dimensions divides its logits by
sqrt(d'); slicing multiplies the query by sqrt(d'/d), so that the softmax sees the scale of the unpruned head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

from torch import nn

from ..plan import UserError, brief
from .arguments import MOST_PARAMETERS, MOST_PIXELS, check_ends, check_options, check_whole, check_widths
from .base import WidthSpace
from .blocks import attention_of, mlp_group, narrow_heads, plain_attention
from .gates import GatheredLinear
from .groups import Group, columns
from .narrowing import narrow
from .operators import Operator
from .partial_blocks import removable, take_out
from .removal import removed, within_blocks
from .shapes import weightless
from .timm_arguments import FAMILIES, check_model, plain_options
from .traced import bare_parameters, remembered, traced_operators

Scored = Literal["sidt", "vtp"]


@dataclass(frozen=True)
class TransformerSpace(WidthSpace):
    """A timm model called `model`, made with the keyword arguments `options`; timm checkpoints load.

    `input_size`: side of the image in pixels, or [height, width]; None: timm's own for this model. `options` are
    timm's, such as `{"window_size": 4, "patch_size": 2, "embed_dim": 48, "drop_path_rate": 0.2}`: plain values, tuples
    kept as lists, because they go into model.json. `widths` holds the groups that differ from the original; of an
    attention or MLP of width 0 a constant is left. Raises UserError for a model of another family, an option timm
    refuses, a group that does not exist, or a width out of range.

    Example::

        space = SwinSpace(num_classes=100, model="swin_tiny_patch4_window7_224")
        network = space.build()
        small, small_space = slice_model(network, space, plan)
    """

    num_classes: int
    model: str
    in_channels: int = 3
    input_size: int | tuple[int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scored: Scored = "sidt"
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = ""
    choices = ("scored",)

    def __post_init__(self) -> None:
        if self.scored not in ("sidt", "vtp"):
            raise UserError(f"space.scored = {brief(self.scored)}: must be 'sidt' or 'vtp'")
        check_model(self.name, self.model)
        check_ends(self.num_classes, self.in_channels)
        if self.input_size is not None:
            object.__setattr__(self, "input_size", _checked_size(self.input_size))
        plain = plain_options(self.name, self.options)
        object.__setattr__(self, "options", plain)
        check_options(plain)
        full = {group.name: (int(group.rest is None), group.size) for group in self.full_groups}
        check_widths(self.widths, full, network=self.model)

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network."""
        return _groups(self.name, self.model, self.input_size, json.dumps(self.options), self.scored)

    @property
    def classifier(self) -> tuple[str, ...]:
        """The layers whose rows are the classes: DeiT's distillation token has its own."""
        model: Any = _on_meta(self)
        found = model.get_classifier()
        layers = set(found if isinstance(found, tuple) else (found,))
        return tuple(name for name, module in model.named_modules() if module in layers)

    def build(self) -> nn.Module:
        """A freshly initialised network."""
        model = _full(self)
        _shrink(model, self)
        return model

    def empty(self) -> nn.Module:
        """A network whose weights are yet to be loaded: no time goes into initialising them."""
        model = _on_meta(self).to_empty(device="cpu")
        for module in model.modules():
            if callable(initialise := getattr(module, "init_non_persistent_buffers", None)):
                initialise()
        return model

    @remembered
    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """Linear layers, attention, norms, convolutions in forward order, then bare parameters, for a (C, H, W) image.

        An operator of kind `attention` is the two products of a block's attention: 2 tokens^2 MACs per dimension,
        head and window (table 4.3).
        """
        sides = (self.input_size,) * 2 if isinstance(self.input_size, int) else self.input_size
        if sides is not None and tuple(input_size[1:]) != sides:
            raise UserError(
                f"space.input_size = {self.input_size}: the images have {input_size[1]} x {input_size[2]} pixels; "
                "set it to the data's input_size"
            )
        model = _on_meta(self)
        try:
            found = traced_operators(model, self.groups, input_size)
        except AssertionError as error:
            raise UserError(
                f"space.model = {self.model!r}: {str(error).rstrip('.')}; set space.input_size to the images' side, "
                "a multiple of the patch size"
            ) from None
        return within_blocks(found + bare_parameters(model, self.groups), self.groups)


@dataclass(frozen=True)
class SwinSpace(TransformerSpace):
    """timm's Swin transformers of all sizes; see TransformerSpace."""

    name = "swin"


@dataclass(frozen=True)
class VitSpace(TransformerSpace):
    """timm's ViT and DeiT, with or without a distillation token; see TransformerSpace."""

    name = "vit"


def _checked_size(size: Any) -> int | tuple[int, int]:
    """A side in pixels, or both; UserError for anything else."""
    if isinstance(size, list | tuple) and len(size) == 2:
        for side in size:
            check_whole("input_size", side, least=1, most=MOST_PIXELS, example=224)
        return tuple(size)
    check_whole("input_size", size, least=1, most=MOST_PIXELS, example=224)
    return size  # type: ignore[no-any-return]


def _create(
    space: str,
    name: str,
    input_size: int | tuple[int, int] | None,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
) -> nn.Module:
    """The unpruned network as timm makes it."""
    import timm

    base, example = FAMILIES[space]
    sized: dict[str, Any] = {} if input_size is None else {"img_size": input_size}
    try:
        model = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=in_channels, **sized, **options
        )
    except (TypeError, AssertionError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"space.options = {brief(options)}, input_size = {input_size!r}: timm refuses them for {name} ({reason}); "
            f"correct them, or choose a {space} such as {example!r}"
        ) from None
    if base not in {f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__}:
        raise UserError(f"space.model = {name!r}: {type(model).__name__} is no {space}; for example {example!r}")
    if (n := sum(value.numel() for value in model.parameters())) > MOST_PARAMETERS:
        raise UserError(f"space.options = {brief(options)}: make {n:,} parameters; at most {MOST_PARAMETERS:,} here")
    return model


def _full(space: TransformerSpace) -> nn.Module:
    return _create(
        space.name,
        space.model,
        space.input_size,
        space.options,
        num_classes=space.num_classes,
        in_channels=space.in_channels,
    )


def _on_meta(space: TransformerSpace) -> nn.Module:
    with weightless():
        model = _full(space)
        _shrink(model, space)
    return model


@lru_cache(maxsize=128)
def _groups(
    space: str, model: str, input_size: int | tuple[int, int] | None, options: str, scored: Scored
) -> tuple[Group, ...]:
    """Groups of the unpruned network; `options` as JSON, because results are kept."""
    with weightless():
        network = _create(space, model, input_size, json.loads(options), num_classes=2, in_channels=3)
    found: list[Group] = []
    for name, block in network.named_modules():
        if hasattr(block, "attn") and hasattr(block, "mlp"):
            _check_block(model, name, block)
            found += (_block_groups if scored == "sidt" else _vtp_groups)(name, block)
    if not found:
        raise UserError(
            f"space.model = {model!r}: no block has one attention and one MLP to score; "
            f"use a plain one, for example {FAMILIES[space][1]!r}"
        )
    return tuple(found)


def _block_groups(name: str, block: Any) -> list[Group]:
    groups = attention_of(f"{name}.attn", block.attn), _mlp_group(name, block)
    return [removable(group, name, block) for group in groups]


def _vtp_groups(name: str, block: Any) -> list[Group]:
    layers = {
        f"{name}.attn.qkv": block.attn.qkv,
        f"{name}.attn.proj": block.attn.proj,
        f"{name}.mlp.fc1": block.mlp.fc1,
    }
    streams = [
        Group(layer, linear.in_features, (), columns(layer), index=f"{layer}.index", kind="stream")
        for layer, linear in layers.items()
    ]
    return [*streams, _mlp_group(name, block)]


def _mlp_group(name: str, block: Any) -> Group:
    mlp = f"{name}.mlp"
    return mlp_group(mlp, block.mlp.fc1.out_features, into=f"{mlp}.fc1", out=f"{mlp}.fc2")


def _check_block(model: str, name: str, block: Any) -> None:
    """UserError for blocks whose dimensions something else than q, k, v and the MLP's two layers reads."""
    from timm import layers

    plain: Any = layers
    odd = plain_attention(block.attn)
    if odd is None and (type(block.mlp) is not plain.Mlp or not isinstance(block.mlp.norm, nn.Identity)):
        odd = f"an MLP of type {type(block.mlp).__name__}, or with a norm inside"
    if odd:
        raise UserError(f"space.model = {model!r}: {name} has {odd}, which cannot be sliced; use a plain ViT or Swin")


def _shrink(model: nn.Module, space: TransformerSpace) -> None:
    """Bring `model`, fresh from timm, to the widths of `space`, in place."""
    full, widths = space.full_groups, {name: width for name, width in space.widths.items() if width}
    narrow(model, full, widths)
    narrow_heads(model, full, widths)
    for rest in sorted(removed(full, space.widths), key=lambda rest: rest.block.endswith(".attn")):
        take_out(model, rest.block)  # an MLP first: a block without attention is another module
    for group in full:
        if group.index is not None and space.widths.get(group.name, group.size) != group.size:
            layer = group.reads[0].module
            model.set_submodule(layer, GatheredLinear.of(model.get_submodule(layer)))
