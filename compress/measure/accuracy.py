"""How often a network is right on a data set's evaluation images, whatever runs it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..engine.data import ImageData
from ..engine.loaders import eval_loader
from ..export import network_input
from ..export.agreement import check_agrees
from ..plan import UserError, check_figures
from .session import Session

TOP = 5
OUTPUTS = "the network's outputs are too large, or no numbers: give another one, or train it again at a lower rate"
"""The remedy where a mean loss is not finite."""


def evaluate_model(model: Session, data: ImageData, *, batch: int = 250, num_workers: int = 0) -> dict[str, Any]:
    """Score `model` on `data.test`: `top1`, `top5` (where there are more than 5 classes) in percent, mean cross
    entropy `loss`, `n_images`, and `evaluated_on` (`test`, or `holdout`).

    Args:
        model: an opened network.
        data: its `test` images are read.
        batch: images of one call.
        num_workers: processes that read images; 0: this one.

    Raises UserError when the network's classes or preprocessing are not those of `data`, its output is not one logit
    for each class, or the loss is not finite.

    Example::

        evaluate_model(open_model("runs/demo/model.onnx"), load_data(DataConfig(), seed=0))["top1"]  # 97.5
    """
    classes, preprocessing = model.described()
    check_agrees(model.source, classes, preprocessing, data)
    loader = eval_loader(data.test, batch_size=batch, num_workers=num_workers)
    top = TOP if len(data.classes) > TOP else 1
    hits_K, loss = torch.zeros(top, dtype=torch.int64), 0.0
    for images_BCHW, labels_B in loader:
        logits_BK = model(network_input(images_BCHW, preprocessing))
        if logits_BK.shape != (len(labels_B), len(data.classes)):
            raise UserError(
                f"{model.source}: gives {tuple(logits_BK.shape)} for {len(labels_B)} images; must give a logit for "
                f"each of {len(data.classes)} classes"
            )
        hits_K += (logits_BK.topk(top).indices == labels_B[:, None]).sum(0)
        loss += float(F.cross_entropy(logits_BK, labels_B, reduction="sum"))
    count = len(data.test)
    check_figures(f"{model.source} on {data.name}", {"loss": loss / count}, remedy=OUTPUTS)
    shares = [round(100 * int(hits) / count, 4) for hits in hits_K.cumsum(0)]
    return {
        "backend": model.backend,
        "dataset": data.name,
        "evaluated_on": data.evaluated_on,
        "n_images": count,
        "top1": shares[0],
        **({"top5": shares[-1]} if top == TOP else {}),
        "loss": round(loss / count, 6),
    }
