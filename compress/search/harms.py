"""What a network loses with fewer channels, group by group, as it is measured: what `select.gain="measured"` goes by.

Scores rank the channels of a group; what a group is worth beside another one they say less well: a search leaves most
of them near where they began, and sums of them know nothing of the layer that breaks the network when it is halved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..plan import UserError
from ..spaces import Alphas, Space, same_draws

LEVELS = 8
"""Widths at which the loss of a group is measured, evenly spread, the full one among them."""

WORST = 1e6
"""What the loss rises by at most: beside a number that overflows, what other groups lose would be rounded away."""


def harms_of(
    model: nn.Module,
    space: Space,
    scores: Mapping[str, Tensor],
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Sequence[Any],
    *,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """{group: harm of keeping its best 0, 1, ..., C channels, all else whole}: [C + 1], falling, 0 at C.

    A harm is the root of what the mean loss rises by: to second order a loss rises with the square of a change, so that
    roots add up as changes do, and of a large rise fine-tuning gets back more. In between the measured widths it is
    interpolated; below the lowest it stays.

    Args:
        model: as sliced networks come from it; in evaluation mode, unchanged afterwards.
        space: its space.
        scores: {group: [C]}; channels with the smallest |score| go first.
        loss: of the model on a batch, a mean over it.
        batches: of equally many images.
        advance: is called whenever a width has been measured, `measured_widths` but the full one of every group.

    What is drawn at random, as detectors draw samples for their losses, is drawn alike at every width. Raises UserError
    where the whole network's loss is not finite.

    Example::

        batches = [(torch.randn(4, *size), torch.arange(4))]
        loss = lambda network, batch: F.cross_entropy(network(batch[0]), batch[1])
        harms = harms_of(network, space, scores, loss, batches)
        config = SelectConfig(gain="measured")
        plan_for(space, scores, Budget("macs_ratio", 0.5), config, input_size=size, harms=harms)
    """
    alphas = Alphas(space.groups).to(next(model.parameters()).device)
    gates, training = alphas.attach(model), model.training
    model.eval()
    try:
        return _measured(alphas, scores, lambda: _mean_loss(model, loss, batches), advance)
    finally:
        for gate in gates:
            gate.remove()
        model.train(training)


def _measured(
    alphas: Alphas, scores: Mapping[str, Tensor], mean_loss: Callable[[], float], advance: Callable[[], object]
) -> dict[str, list[float]]:
    """The harms of the network whose `mean_loss` goes by the gates of `alphas`."""
    whole, found = mean_loss(), {}
    if not np.isfinite(whole):
        raise UserError(
            f"select.gain = 'measured': the loss of the whole network on training images is {whole}, beside which "
            "nothing can be measured; look at the network with `nncompress evaluate`, or choose another gain"
        )
    for group in alphas.groups:
        mask = alphas[group.name].data
        best_first = scores[group.name].double().abs().argsort(descending=True, stable=True).to(mask.device)
        widths = measured_widths(group.size)
        rises = []
        for width in widths[:-1]:
            mask[best_first[width:]] = 0
            rises.append(mean_loss() - whole)
            mask.fill_(1)
            advance()
        found[group.name] = between(widths, [*rises, 0.0])
    return found


@torch.no_grad()
def _mean_loss(model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], batches: Sequence[Any]) -> float:
    """Of `model` over `batches`, with the same draws every time."""
    with same_draws(next(model.parameters()).device):
        torch.manual_seed(0)
        return sum(float(loss(model, batch)) for batch in batches) / len(batches)


def measured_widths(size: int) -> list[int]:
    """Of a group of `size` channels, ascending."""
    return sorted({max(1, round(size * level / LEVELS)) for level in range(1, LEVELS + 1)})


def between(widths: Sequence[int], rises: Sequence[float]) -> list[float]:
    """Harms at 0, 1, ..., widths[-1] channels, of what the loss rises by at `widths`; more channels never harm more."""
    found = np.nan_to_num(np.asarray(rises, dtype=float), nan=WORST)  # of a loss that overflows
    falling = np.maximum.accumulate(np.sqrt(found.clip(0, WORST))[::-1])[::-1]
    return [float(harm) for harm in np.interp(np.arange(widths[-1] + 1), widths, falling)]
