"""What networks are searched for: how a batch becomes a loss, where batches come from, what updates the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from .data import ImageData
from .layout import shown_to
from .loaders import ImageLoader
from .optimisers import make_optimizer
from .sampling import stratified_halves
from .settings import SearchConfig, TrainConfig, make_schedule
from .training import Job, training_loader


class Objective(Protocol):
    """How networks are trained, whatever the data are."""

    def loss(self, network: nn.Module, batch: Any, *, label_smoothing: float) -> Tensor:
        """The scalar loss of a batch, which may still be on the CPU."""

    def optimizer(
        self, settings: Mapping[str, Any], network: nn.Module, parameters: Sequence[nn.Parameter], *, name: str
    ) -> OptimWrapper:
        """The optimiser that `settings` describe, of `parameters` of `network`; `name` is its section of the recipe."""

    def schedule(self, config: TrainConfig | SearchConfig) -> list[dict[str, Any]]:
        """MMEngine's parameter schedulers for `config`."""

    def parts(self, batch: Any, n: int) -> list[Any]:
        """`batch` in `n` equal parts, in order."""


class Task(Objective, Protocol):
    """An objective and its training data D."""

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    def loader(self, batch_size: int, job: Job) -> Any:
        """Batches of all of D; `set_epoch` comes before every pass."""

    def halves(self, batch_size: int, job: Job) -> list[Any]:
        """Batches of D_p and of D_a, equally many."""


class CrossEntropy:
    """Images [B, C, H, W] and labels int64 [B]."""

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor], *, label_smoothing: float = 0.0) -> Tensor:
        """Cross entropy in float32, mean over the batch."""
        logits = network(shown_to(network, batch[0])).float()
        return F.cross_entropy(logits, batch[1].to(logits.device), label_smoothing=label_smoothing)

    def optimizer(
        self, settings: Mapping[str, Any], network: nn.Module, parameters: Sequence[nn.Parameter], *, name: str
    ) -> OptimWrapper:
        """One set of hyperparameters for all of `parameters`."""
        return OptimWrapper(optimizer=make_optimizer(settings, parameters, name=name))

    def schedule(self, config: TrainConfig | SearchConfig) -> list[dict[str, Any]]:
        """Linear warm-up, then cosine or step decay."""
        return make_schedule(config)

    def parts(self, batch: tuple[Tensor, Tensor], n: int) -> list[tuple[Tensor, Tensor]]:
        """The images and labels in `n` parts."""
        return list(zip(batch[0].chunk(n), batch[1].chunk(n), strict=True))


class Classification(CrossEntropy):
    """Cross entropy on the training images of `data`.

    Example::

        search(network, space, Classification(data), config, job, evaluate=evaluate)
    """

    def __init__(self, data: ImageData) -> None:
        self.images = data.train
        self.input_size: tuple[int, int, int] = tuple(data.preprocessing["input_size"])

    def loader(self, batch_size: int, job: Job) -> ImageLoader:
        """This process's share of all training images."""
        return training_loader(self.images, batch_size=batch_size, seed=job.seed, num_workers=job.num_workers)

    def halves(self, batch_size: int, job: Job) -> list[ImageLoader]:
        """Stratified halves; of an odd number one image stays out, so that both have equally many batches."""
        parts = stratified_halves(self.images.labels, seed=job.seed)
        n = min(map(len, parts))
        return [
            training_loader(
                self.images.subset(part[:n]), batch_size=batch_size, seed=job.seed, num_workers=job.num_workers
            )
            for part in parts
        ]
