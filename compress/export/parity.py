"""Does the ONNX file answer as the PyTorch module does, on real images?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..plan import UserError
from .divergence import first_divergence
from .onnx_file import INPUT_NAME, OUTPUT_NAME, inference_copy
from .session import onnx_session

if TYPE_CHECKING:
    import onnxruntime


class ParityError(RuntimeError):
    """ONNX Runtime's answers differ from PyTorch's by more than the tolerance; the message holds the figures."""


def compare_with_onnx(
    model: nn.Module, path: str | Path, batches: Iterable[tuple[Tensor, Tensor]], *, tolerance: float
) -> dict[str, float]:
    """Run `model` (float32, CPU, eval mode) and the ONNX file at `path` on the same images and compare their logits.

    The first image is also sent through the ONNX file alone, so that a file bound to one batch size does not pass.

    Returns one entry of `parity.json`: `max_abs_diff`, the largest difference of two logits; `max_rel_diff`, the same
    over the largest absolute PyTorch logit; `n_images`; `top1_onnx`, `top1_torch` (percent of labels met) and
    `top1_agreement` (percent of images with the same first class). Raises ParityError, which names the first module
    that differs, when `max_rel_diff` exceeds `tolerance` or is not a number, or when the logits' shapes differ;
    UserError when `batches` is empty or the file is missing, corrupt, or takes pixels.

    Args:
        model: in eval mode, float32, on the CPU.
        path: the ONNX file.
        batches: images float32 (B, C, H, W), preprocessed, and labels int64 (B,).
        tolerance: largest `max_rel_diff`.

    Example::

        entry = compare_with_onnx(model, "model.onnx", loader, tolerance=1e-4)
        entry["max_rel_diff"]  # 3e-7
    """
    session = onnx_session(path, threads=torch.get_num_threads())
    if session.get_inputs()[0].type == "tensor(uint8)":
        raise UserError(f"{path}: takes pixels; give the file that it was made from, without --uint8-input")
    network = inference_copy(model)
    wanted, given, labels = [], [], []
    alone, worst_1CHW, largest = torch.empty(0), torch.empty(0), -1.0
    with torch.inference_mode():
        for images_BCHW, labels_B in batches:
            wanted.append(network(images_BCHW.float().cpu()))
            given.append(_run(session, images_BCHW))
            labels.append(labels_B.cpu())
            if len(given) == 1:
                alone = _run(session, images_BCHW[:1])
            if given[-1].shape != wanted[-1].shape:
                shapes = f"{tuple(given[-1].shape)}, PyTorch {tuple(wanted[-1].shape)}"
                raise ParityError(f"{path}: ONNX Runtime gives logits of shape {shapes}; export this model again")
            differences_B = (given[-1] - wanted[-1]).abs().amax(1).nan_to_num(nan=torch.inf)
            if float(differences_B.max()) > largest:
                largest, worst = float(differences_B.max()), int(differences_B.argmax())
                worst_1CHW = images_BCHW[worst : worst + 1]
    if not wanted:
        raise UserError("batches: none; at least one batch of images is needed to compare with the ONNX file")
    torch_NK, onnx_NK = torch.cat(wanted), torch.cat(given)
    entry = _figures(torch_NK, onnx_NK, torch.cat(labels), alone_1K=alone)
    if not entry["max_rel_diff"] <= tolerance:  # written so that NaN fails
        raise ParityError(
            f"{path}: differs from PyTorch by max_rel_diff {entry['max_rel_diff']:.3g} (tolerance {tolerance:.3g}), "
            f"max_abs_diff {entry['max_abs_diff']:.3g}, top-1 agreement {entry['top1_agreement']:.2f} % "
            f"of {entry['n_images']} images; {_where(network, path, worst_1CHW, tolerance)}"
        )
    return entry


def _where(network: nn.Module, path: str | Path, worst_1CHW: Tensor, tolerance: float) -> str:
    """Where the difference on the image with the largest one begins, for the message."""
    if (found := first_divergence(network, path, worst_1CHW, tolerance=tolerance)) is not None:
        return f"the first module that differs is {found}"
    return "no module differs on the worst image alone and without graph optimisations"


def _run(session: onnxruntime.InferenceSession, images_BCHW: Tensor) -> Tensor:
    (logits_BK,) = session.run([OUTPUT_NAME], {INPUT_NAME: images_BCHW.float().cpu().numpy()})
    return torch.from_numpy(logits_BK)


def _figures(torch_NK: Tensor, onnx_NK: Tensor, labels_N: Tensor, *, alone_1K: Tensor) -> dict[str, float]:
    """The entry of `parity.json`; `alone_1K` are ONNX logits of the first image in a batch of one."""
    differences = torch.cat([onnx_NK - torch_NK, alone_1K - torch_NK[:1]])
    max_abs_diff = differences.abs().max()
    top1_torch, top1_onnx = torch_NK.argmax(1), onnx_NK.argmax(1)
    return {
        "max_abs_diff": max_abs_diff.item(),
        "max_rel_diff": (max_abs_diff / torch_NK.abs().max().clamp(min=torch.finfo(torch.float32).tiny)).item(),
        "n_images": len(labels_N),
        "top1_onnx": _percent(top1_onnx == labels_N),
        "top1_torch": _percent(top1_torch == labels_N),
        "top1_agreement": _percent(top1_onnx == top1_torch),
    }


def _percent(hits_N: Tensor) -> float:
    return 100.0 * int(hits_N.sum()) / len(hits_N)
