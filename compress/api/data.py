"""The user's own data and loss as a task of the engine: images and labels, or anything with a loss of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset

from ..engine.loaders import ImageLoader
from ..engine.sampling import EpochSampler
from ..engine.tasks import CrossEntropy
from ..engine.training import Job
from ..plan import UserError

Loss = Callable[[nn.Module, Any], Tensor]
"""(network, batch) -> the loss, a scalar: for anything but images and labels."""


class Chosen(Dataset[Any]):
    """The items of `items` at `indices`, asked for as an EpochSampler does: by (number, epoch)."""

    def __init__(self, items: Any, indices: Sequence[int]) -> None:
        self.items, self.indices = items, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.items[self.indices[key[0]]]


@dataclass
class Data:
    """A data set with what a loader says of its batches."""

    items: Any
    batch_size: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, *, name: str, batch_size: int) -> Data:
        """A DataLoader's data set, batch size, workers and collation; of a data set, `batch_size`.

        Raises UserError for what has no length or no items.
        """
        options: dict[str, Any] = {}
        items = given
        if isinstance(given, DataLoader):
            items, batch_size = given.dataset, given.batch_size or batch_size
            options = {"collate_fn": given.collate_fn, "num_workers": given.num_workers}
        if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
            raise UserError(
                f"{name} = {type(items).__name__}: must have a length and items; give a map-style data set or its "
                "DataLoader"
            )
        if not len(items):
            raise UserError(f"{name}: is empty; give one with items")
        return cls(items, batch_size, options)

    def loader(self, chosen: list[int] | None = None, *, batch_size: int, seed: int) -> ImageLoader:
        """Shuffled full batches of the items `chosen` (None: all); the order depends on seed and epoch alone."""
        items = Chosen(self.items, range(len(self.items)) if chosen is None else chosen)
        if batch_size > len(items):
            raise UserError(
                f"batch_size = {batch_size}: more than the {len(items)} training items of a search or training; "
                "lower it, or give more data"
            )
        sampler = EpochSampler(len(items), seed=seed, rank=0, world_size=1, drop_uneven=True)
        return ImageLoader(items, batch_size=batch_size, sampler=sampler, drop_last=True, **self.options)

    def batches(self) -> Iterator[Any]:
        """All items once, in order."""
        return iter(ImageLoader(self.items, batch_size=self.batch_size, **self.options))


class DataTask(CrossEntropy):
    """Training on `data`: cross entropy of images and labels, or the user's `loss`."""

    def __init__(self, data: Data | None, input_size: tuple[int, int, int], loss: Loss | None) -> None:
        self.data, self.input_size, self.own = data, input_size, loss

    def loss(self, network: nn.Module, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The loss of `batch`, on the network's device; UserError where the user's loss is no scalar."""
        if self.own is None:
            return super().loss(network, batch, label_smoothing=label_smoothing)
        value = self.own(network, moved(batch, next(network.parameters()).device))
        if not isinstance(value, Tensor) or value.dim():
            raise UserError(f"loss: gives {type(value).__name__}; must give a tensor without dimensions, a mean")
        return value

    def parts(self, batch: Any, n: int) -> list[Any]:
        """Only images and labels can be divided."""
        if self.own is not None:
            raise UserError("search.accumulate: batches of your own loss cannot be divided; leave it away")
        return super().parts(batch, n)

    def loader(self, batch_size: int, job: Job) -> ImageLoader:
        """Batches of all of D."""
        return self._data.loader(batch_size=batch_size, seed=job.seed)

    def halves(self, batch_size: int, job: Job) -> list[ImageLoader]:
        """Batches of two random halves of D, equally many."""
        n = len(self._data.items)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(job.seed)).tolist()
        parts = sorted(order[: n // 2]), sorted(order[n // 2 : n // 2 * 2])
        return [self._data.loader(part, batch_size=batch_size, seed=job.seed + i) for i, part in enumerate(parts)]

    @property
    def _data(self) -> Data:
        if self.data is None:
            raise UserError("train_data: missing; give a DataLoader or a data set, or a method that needs none")
        return self.data


def moved(batch: Any, device: torch.device) -> Any:
    """`batch` with all its tensors on `device`."""
    return tree_map(lambda value: value.to(device) if isinstance(value, Tensor) else value, batch)


@torch.inference_mode()
def evaluate(network: nn.Module, data: Data | None, task: DataTask) -> dict[str, float]:
    """Top-1 in percent and mean loss on `data`, of a user's loss the mean alone; nothing without data."""
    if data is None:
        return {}
    home, training = next(network.parameters()).device, network.training
    network.to(get_device()).eval()
    correct = total = 0
    loss = 0.0
    for batch in data.batches():
        n = len(batch[1]) if task.own is None else 1
        loss += float(task.loss(network, batch)) * n
        total += n
        if task.own is None:
            images, labels = (value.to(get_device()) for value in batch)
            correct += int((network(images).argmax(1) == labels).sum())
    network.to(home).train(training)
    figures = {"val_loss": round(loss / total, 6)}
    return figures if task.own is not None else {"top1": round(100 * correct / total, 4), **figures}
