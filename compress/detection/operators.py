"""Stands in for `mmcv._ext`, MMCV's compiled operators, where they are not installed.

Non-maximum suppression and RoIAlign come from torchvision, the sigmoid focal loss and multi-scale deformable attention
are computed in PyTorch, CPU and CUDA alike; every other operator raises one clear sentence when it is called. Where
MMCV has its own operators, nothing is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plan import UserError

EXTENSION = "mmcv._ext"
USERS = ("mmcv.ops", "mmdet.evaluation", "mmdet.models", "mmdet.structures")
"""What imports operators, and goes without them where it can."""

ANSWERED = ("RoIAlign", "SimpleRoIAlign", "SigmoidFocalLoss", "MultiScaleDeformableAttention")
"""Layers of MMCV's that need no operator, or one that is here."""

CALLERS = ("TOODHead",)
"""Heads that call one that is not."""

NAIVE, LINEAR, GAUSSIAN = range(3)
"""MMCV's numbers for what soft NMS does to the score of a box that overlaps a better one."""


def install() -> bool:
    """Make `mmcv.ops` importable; call it before anything of MMDetection is imported.

    Returns whether the operators are these ones. Raises ModuleNotFoundError without MMCV, and UserError when parts of
    MMDetection have been loaded without operators: they would not look for them again.

    Example::

        install()
        from mmdet.apis import init_detector
    """
    if EXTENSION not in sys.modules and find_spec(EXTENSION) is None:
        if early := sorted(name for name in sys.modules if name.startswith(USERS)):
            raise UserError(
                f"compress.detection: {early[0]} was loaded before it, without MMCV's operators; import "
                "compress.detection before mmdet (docs/detection.md shows how to start MMDetection's tools)"
            )
        sys.modules[EXTENSION] = module = _Operators(EXTENSION)
        module.__spec__ = ModuleSpec(EXTENSION, None)  # MMEngine asks whether there is one
    return isinstance(sys.modules.get(EXTENSION), _Operators)


def check_operators(network: nn.Module) -> None:
    """UserError for a detector that needs an operator which is not here, naming the first such module."""
    if not isinstance(sys.modules.get(EXTENSION), _Operators):
        return
    for name, module in network.named_modules():
        kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith("mmcv.ops.")]
        if type(module).__name__ in CALLERS or any(kind.__name__ not in ANSWERED for kind in kinds):
            raise UserError(
                f"space.config: {name} is a {type(module).__name__}, which needs an operator that this MMCV was "
                "installed without; install an MMCV that was built with its operators, or choose a detector without it"
            )


class _Operators(ModuleType):
    """The module `mmcv._ext`: has every operator that MMCV asks for, but most of them only complain."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return OPERATORS.get(name) or _absent(name)


def _absent(name: str) -> Callable[..., Any]:
    def operator(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"mmcv operator {name!r}: this MMCV was installed without compiled operators, and there is none here "
            "for it; install an MMCV that was built with its operators, or choose a model that does not use it"
        )

    return operator


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes [N, 4] that greedy suppression keeps, by falling score; with `offset` 1, x2 and y2 belong
    to the box."""
    from torchvision.ops import nms as suppress

    # MMCV compares in float32, in which an overlap of exactly 0.3 is not above a threshold of 0.3.
    return suppress(_whole(boxes, offset), scores, torch.tensor(iou_threshold, dtype=torch.float32).item())


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft NMS (Bodla et al., arXiv 1704.04503) of boxes [N, 4]; returns the indices of those that stay, best first.

    Rows of `dets`, [N, 5], become these boxes with their lowered scores.
    """
    from torchvision.ops import box_iou

    whole, left = _whole(boxes, offset), scores.clone()
    kept: list[int] = []
    alive = torch.ones_like(left, dtype=torch.bool)
    while bool(alive.any()):
        best = int(left.masked_fill(~alive, -torch.inf).argmax())
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], left[best]
        kept.append(best)
        alive[best] = False
        overlap = box_iou(whole[best : best + 1], whole)[0]
        if method == GAUSSIAN:
            left = torch.where(alive, left * torch.exp(-(overlap**2) / sigma), left)
        else:
            lowered = left * (1 - overlap) if method == LINEAR else torch.zeros_like(left)
            left = torch.where(alive & (overlap >= iou_threshold), lowered, left)
        alive &= left >= min_score
    return torch.tensor(kept, dtype=torch.long)


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign of `features` [B, C, H, W] at `rois` [N, 5] (image, x1, y1, x2, y2), into `output` [N, C, h, w].

    Half precision is computed in float32: torchvision has no gradient in bfloat16.
    """
    from torchvision.ops import roi_align

    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    features, rois = _at_least_single(features), _at_least_single(rois)
    output.copy_(roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of RoIAlign at the features, from the one at its output, into `grad_input` [B, C, H, W]."""
    import torchvision  # noqa: F401 (registers the operator)

    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    grad_output, rois = _at_least_single(grad_output), _at_least_single(rois)
    backward = torch.ops.torchvision._roi_align_backward
    grad_input.copy_(backward(grad_output, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned))


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Focal loss (Lin et al., arXiv 1708.02002) of `logits` [N, C] at labels `target` [N], into `output` [N, C].

    Label C is background. Factors of the classes, `weight`, are refused: MMDetection gives none.
    """
    _sign, factor, log_p, q = _focal_terms(logits, target, weight, alpha)
    output.copy_(-factor * q**gamma * log_p)


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """The derivative of each entry of the focal loss by its own logit, into `grad_input` [N, C]."""
    sign, factor, log_p, q = _focal_terms(logits, target, weight, alpha)
    grad_input.copy_(sign * factor * q**gamma * (gamma * (1 - q) * log_p - q))


def _focal_terms(logits: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sign of the logit in favour of the truth, weights, and with p the probability of the truth log p and 1 - p."""
    if weight.numel():
        raise NotImplementedError("sigmoid_focal_loss: is computed without weights of classes; use weight=None")
    x = _at_least_single(logits)
    is_class = target[:, None] == torch.arange(x.shape[1], device=x.device)
    sign = torch.where(is_class, 1.0, -1.0).to(x.dtype)
    factor = torch.where(is_class, alpha, 1 - alpha).to(x.dtype)
    return sign, factor, F.logsigmoid(sign * x), torch.sigmoid(-sign * x)


def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, *, im2col_step: int
) -> Tensor:
    """Multi-scale deformable attention of `value` [B, S, H, D], as MMCV computes it in PyTorch, [B, Q, H * D].

    `shapes` [L, 2] are the levels' heights and widths, `starts` [L] where they begin in S; `locations` are
    [B, Q, H, L, P, 2], `weights` [B, Q, H, L, P]; `im2col_step` is a matter of memory alone.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


def ms_deform_attn_backward(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_locations: Tensor,
    grad_weights: Tensor,
    *,
    im2col_step: int,
) -> None:
    """The gradients of `ms_deform_attn_forward`, computed again, from the one at its output, into the last three."""
    with torch.enable_grad():
        given = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
        output = ms_deform_attn_forward(given[0], shapes, starts, given[1], given[2], im2col_step=im2col_step)
        gradients = torch.autograd.grad(output, given, grad_output)
    for into, gradient in zip((grad_value, grad_locations, grad_weights), gradients, strict=True):
        into.copy_(gradient)


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _only_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError("roi_align: pool_mode='max' is not in torchvision; use pool_mode='avg'")


def _whole(boxes: Tensor, offset: int) -> Tensor:
    return boxes if offset == 0 else boxes + boxes.new_tensor([0, 0, offset, offset])


OPERATORS: dict[str, Callable[..., Any]] = {
    "nms": nms,
    "softnms": softnms,
    "roi_align_forward": roi_align_forward,
    "roi_align_backward": roi_align_backward,
    "sigmoid_focal_loss_forward": sigmoid_focal_loss_forward,
    "sigmoid_focal_loss_backward": sigmoid_focal_loss_backward,
    "ms_deform_attn_forward": ms_deform_attn_forward,
    "ms_deform_attn_backward": ms_deform_attn_backward,
}
"""What MMCV asks `mmcv._ext` for and is here."""
