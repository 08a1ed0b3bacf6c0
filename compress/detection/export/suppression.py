"""Greedy non-maximum suppression of sorted boxes, as one ONNX operator or as products of matrices.

Both take boxes [G, N, 4] of G groups, each sorted by falling score, and return which ones stay, bool [G, N]. Boxes
without area neither suppress nor are suppressed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from .boxes import overlaps

ROUNDS = 20
"""Rounds of `suppress_by_rounds`. Clusters of 1,000 random boxes need 9 at most. Even, so that a longer chain of
suppressions leaves duplicates behind but never costs a detection."""


def suppress_in_turn(boxes_GN4: Tensor, threshold: float) -> Tensor:
    """By NonMaxSuppression, group after group: what ONNX Runtime has an operator for."""
    count = boxes_GN4.shape[1]
    order = torch.arange(count, 0, -1, device=boxes_GN4.device).to(boxes_GN4.dtype)
    kept = []
    for boxes_N4 in boxes_GN4.unbind(0):
        indices = nms(boxes_N4, order, threshold)
        kept.append(torch.zeros_like(order).scatter(0, indices, 1.0))
    return torch.stack(kept) > 0


def suppress_by_rounds(boxes_GN4: Tensor, threshold: float, *, rounds: int = ROUNDS) -> Tensor:
    """By the fixed point of k = (k S < 1), S_ji = 1 where box j precedes box i and overlaps it by over `threshold`.

    The greedy result g is the only fixed point: whether box i stays depends on boxes before it alone. Round t settles
    every box whose longest chain of suppressions (a box, one that overlaps it and precedes it, and so on) has at most
    t links, so `rounds` >= N - 1 is always exact, and as many as the longest chain are enough. The map is antitone and
    begins at k = 1 >= g: after an even number of rounds k >= g, after an odd one k <= g. Rounds that were too few
    therefore keep some boxes too many (even) or too few (odd), all of them at the far ends of such chains.
    """
    precedes = torch.ones(boxes_GN4.shape[1], boxes_GN4.shape[1], device=boxes_GN4.device).triu(1)
    suppresses = (overlaps(boxes_GN4) > threshold).to(boxes_GN4.dtype) * precedes
    keep_G1N = torch.ones_like(boxes_GN4[..., 0]).unsqueeze(1)
    for _ in range(rounds):
        keep_G1N = (keep_G1N @ suppresses < 0.5).to(boxes_GN4.dtype)
    return keep_G1N.squeeze(1) > 0.5
