"""What a network has for its training alone: an auxiliary head, and settings that follow the training's progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Auxiliary:
    """A classifier of the network's inner maps; its loss counts `weight` times in training.

    A network that has one gives it by `make_auxiliary()`, and by `with_features(x)` its logits and what the head reads.
    The head is no part of the network, so that nothing that is evaluated, counted, saved or exported has it.
    """

    head: nn.Module
    weight: float


def auxiliary_of(network: nn.Module) -> Auxiliary | None:
    """The head that `network` is trained with, freshly initialised; None for most networks."""
    make: Any = getattr(network, "make_auxiliary", None)
    return None if make is None else make()


class Progressing:
    """Tells a network before every epoch what share of `epochs` lies behind, where it wants to know."""

    def __init__(self, network: nn.Module, epochs: int) -> None:
        self.tell: Any = getattr(network, "set_training_progress", None)
        self.epochs = epochs

    def set_epoch(self, epoch: int) -> None:
        """`epoch` begins, counted from 0."""
        if self.tell is not None:
            self.tell(epoch / self.epochs)
