"""The user's own data and loss as a task of the engine: images and labels, or anything with a loss of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from ..engine.loaders import ImageLoader
from ..engine.sampling import EpochSampler
from ..engine.tasks import CrossEntropy
from ..engine.training import Job
from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..spaces import kind_of

Loss = Callable[[nn.Module, Any], Tensor]
"""(network, batch) -> the loss, a scalar: for anything but images and labels."""


class Chosen(Dataset[Any]):
    """The items of `data` at `indices`, asked for as an EpochSampler does: by (number, epoch)."""

    def __init__(self, data: Data, indices: Sequence[int]) -> None:
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.data[self.indices[key[0]]]


@dataclass
class Data(Dataset[Any]):
    """A data set with what a loader says of its batches; `name` is the argument that it was given as.

    Raises UserError for an item that the data set does not give, and for items that make no batch.
    """

    name: str
    items: Any
    batch_size: int
    join: Callable[[list[Any]], Any] = default_collate
    num_workers: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.items[index]
        except (*FAULTS, OSError) as error:
            raise UserError(f"{self.name}[{index}]: cannot be read ({reason(error)}); mend the data set") from error

    def joined(self, items: list[Any]) -> Any:
        """The batch of `items`."""
        try:
            return self.join(items)
        except FAULTS as error:
            raise UserError(
                f"{self.name}: its items make no batch ({reason(error)}); give items of tensors of equal shapes, or a "
                "DataLoader with collate_fn"
            ) from error

    @classmethod
    def of(cls, given: Any, *, name: str, batch_size: int) -> Data:
        """A DataLoader's data set, batch size, workers and collation; of a data set, `batch_size`.

        Raises UserError for what has no length or no items.
        """
        items, join, workers = given, default_collate, 0
        if isinstance(given, DataLoader):
            # A sampler of batches that is not PyTorch's need not say how large they are.
            size = given.batch_size or getattr(given.batch_sampler, "batch_size", None)
            items, batch_size = given.dataset, size if isinstance(size, int) else batch_size
            join, workers = given.collate_fn, given.num_workers
        if isinstance(items, str | Mapping | IterableDataset) or not (
            hasattr(items, "__len__") and hasattr(items, "__getitem__")
        ):
            raise UserError(
                f"{name} = {kind_of(items)}: must have a length and items; give a map-style data set or its DataLoader"
            )
        if isinstance(items, tuple) and any(hasattr(each, "dtype") for each in items):
            raise UserError(f"{name} = {_shown(items)}: is no data set; give torch.utils.data.TensorDataset of tensors")
        if not len(items):
            raise UserError(f"{name}: is empty; give one with items")
        return cls(name, items, batch_size, join, workers)

    def check_batch(self, section: str, batch_size: int, *, halved: bool = False) -> None:
        """UserError where all items, or those of one half, do not fill a batch of `section`."""
        if batch_size > (n := len(self) // (2 if halved else 1)):
            raise UserError(
                f"{section}.batch_size = {batch_size}: more than the {n} items of "
                f"{'each half of ' * halved}{self.name}, so no batch is full; lower it, or give more data"
            )

    def loader(self, chosen: list[int] | None = None, *, batch_size: int, seed: int) -> ImageLoader:
        """Shuffled full batches of the items `chosen` (None: all); the order depends on seed and epoch alone."""
        items = Chosen(self, range(len(self)) if chosen is None else chosen)
        sampler = EpochSampler(len(items), seed=seed, rank=0, world_size=1, drop_uneven=True)
        return self._loader(items, batch_size=batch_size, sampler=sampler, drop_last=True)

    def first(self, n: int) -> Any:
        """The batch of the first `n` items."""
        return self.joined([self[i] for i in range(n)])

    def batches(self) -> Iterator[Any]:
        """All items once, in order."""
        return iter(self._loader(self, batch_size=self.batch_size))

    def _loader(self, items: Dataset[Any], **options: Any) -> ImageLoader:
        return ImageLoader(items, collate_fn=self.joined, num_workers=self.num_workers, **options)


class DataTask(CrossEntropy):
    """Training on `data`: cross entropy of images and labels, or the user's `loss`."""

    def __init__(self, data: Data | None, input_size: tuple[int, int, int], loss: Loss | None) -> None:
        if loss is not None and not callable(loss):
            raise UserError(f"loss = {kind_of(loss)}: must be a function of (network, batch) that gives a scalar")
        self.data, self.input_size, self.own = data, input_size, loss

    def loss(self, network: nn.Module, batch: Any, *, label_smoothing: float = 0.0, of: str = "train_data") -> Tensor:
        """The loss of a batch `of` data, on the network's device; UserError where they do not go together."""
        with self.fitting(of):
            if self.own is None:
                self._check_pairs(batch)
                return super().loss(network, batch, label_smoothing=label_smoothing)
            value = self.own(network, moved(batch, next(network.parameters()).device))
        if not isinstance(value, Tensor) or value.dim():
            raise UserError(f"loss: gives {kind_of(value)}; must give a tensor without dimensions, a mean")
        return value

    def _check_pairs(self, batch: Any) -> None:
        """ValueError for what PyTorch would take for something else: probabilities for labels, or an axis too many."""
        if not isinstance(batch, Sequence) or len(batch) < 2 or not all(isinstance(each, Tensor) for each in batch[:2]):
            raise ValueError(f"a batch is {_shown(batch)}")
        images, labels = batch[:2]
        if images.dim() != len(self.input_size) + 1:
            raise ValueError(f"images are {_shown(images)}")
        if labels.dtype != torch.int64 or labels.dim() != 1:
            raise ValueError(f"labels are {_shown(labels)}")

    @contextmanager
    def fitting(self, data: str) -> Iterator[None]:
        """Tell in one line what the network, or the user's loss, raises for a batch of `data`."""
        try:
            yield
        except (UserError, torch.OutOfMemoryError):
            raise
        except FAULTS as error:
            if self.own is not None:
                raise UserError(
                    f"loss: raises {type(error).__name__} for a batch of {data} ({reason(error)}); mend it: it is "
                    "called as loss(network, batch)"
                ) from error
            raise UserError(
                f"{data}: a batch does not fit the network ({reason(error)}); batches must be images as example_input, "
                "and labels int64 [B] from 0, below the number of outputs; of anything else with loss"
            ) from error

    def loader(self, batch_size: int, job: Job) -> ImageLoader:
        """Batches of all of D."""
        return self._data.loader(batch_size=batch_size, seed=job.seed)

    def halves(self, batch_size: int, job: Job) -> list[ImageLoader]:
        """Batches of two random halves of D, equally many."""
        n = len(self._data)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(job.seed)).tolist()
        parts = sorted(order[: n // 2]), sorted(order[n // 2 : n // 2 * 2])
        return [self._data.loader(part, batch_size=batch_size, seed=job.seed + i) for i, part in enumerate(parts)]

    @property
    def _data(self) -> Data:
        if self.data is None:
            raise UserError("train_data: missing; give a DataLoader or a data set, or a method that needs none")
        return self.data


def _shown(value: Any) -> str:
    """What a batch or a part of one is, in words."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"[{', '.join(map(kind_of, value))}]" if isinstance(value, list | tuple) else f"a {kind_of(value)}"


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
        n = min(data.batch_size, len(data) - total)  # the last one may be smaller
        with task.fitting(data.name):
            mean = float(task.loss(network, batch, of=data.name))
            if task.own is None:
                images, labels = (value.to(get_device()) for value in batch[:2])
                correct += int((network(images).argmax(1) == labels).sum())
                n = len(labels)  # a collate_fn may leave items out, or make several of one
        loss += mean * n
        total += n
    network.to(home).train(training)
    figures = {"val_loss": round(loss / total, 6)}
    return figures if task.own is not None else {"top1": round(100 * correct / total, 4), **figures}
