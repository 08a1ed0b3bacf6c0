"""Runs of image classifiers, and which class of context a recipe's runs have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, Self

from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from torch import nn

from ..engine.data import DataConfig, ImageData, load_data
from ..engine.datasets import ImageSplit
from ..engine.hooks import Progress
from ..engine.loaders import eval_loader
from ..engine.settings import TrainConfig
from ..engine.tasks import Classification
from ..engine.training import evaluate_top1, train
from ..measure.accuracy import OUTPUTS, evaluate_model
from ..measure.models import open_model
from ..plan import UserError, check_figures
from ..spaces import Space, TracedSpace, make_space
from ..tracing import traced
from .checkpoint import adapted_as_recorded
from .deploying import DEPLOYING, EVAL_BATCH
from .networks import NetworkContext
from .recipe import Recipe
from .stage import Stage


class ImageContext(NetworkContext):
    """What the stages of a classifier's run are given."""

    @property
    def deploying(self) -> Sequence[Stage[Self]]:
        """ONNX files of classifiers, timed and reported."""
        return DEPLOYING

    @cached_property
    def data(self) -> ImageData:
        """The recipe's data, read once."""
        return recipe_data(self.recipe, self.progress)

    @cached_property
    def full_space(self) -> Space:
        """The recipe's space with the data's number of classes."""
        return space_of(self.recipe, len(self.data.classes), tuple(self.data.preprocessing["input_size"]))

    @cached_property
    def task(self) -> Classification:
        """Cross entropy on the training images."""
        return Classification(self.data)

    @property
    def watches(self) -> bool:
        """Whether images are set aside."""
        return self.data.val is not None

    def watch(self, network: nn.Module) -> dict[str, float]:
        """Top-1 in percent and loss on the images for that, if there are any: never on test images."""
        return self._figures(network, self.data.val)

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Top-1 in percent and loss on the evaluation images, as stages record them; UserError unless finite."""
        figures = self._figures(network, self.data.test)
        check_figures(f"evaluation on {self.data.name}", figures, remedy=OUTPUTS)
        return figures

    def _figures(self, network: nn.Module, split: ImageSplit | None) -> dict[str, float]:
        return image_figures(network, split, num_workers=self.recipe.data.num_workers, together=self.together)

    def evaluate_file(self, source: str, *, batch: int, threads: int, backend: str | None = None) -> dict[str, Any]:
        """Figures of a run folder's network, an ONNX file or an engine on the evaluation split, in `backend`."""
        model = open_model(source, backend=backend, threads=threads, batch=batch, trust=self.trust)
        return evaluate_model(model, self.data, batch=batch, num_workers=self.recipe.data.num_workers)

    def train(self, network: nn.Module, config: TrainConfig, stage: str, *, teacher: nn.Module | None = None) -> None:
        """Train `network` in place, as the stage `stage`."""
        adapted = adapted_as_recorded(self) if stage == "train" else None
        train(network, self.data.train, config, self.job(stage), evaluate=self.watch, teacher=teacher, adapted=adapted)


def space_of(recipe: Recipe, classes: int, input_size: tuple[int, int, int]) -> Space:
    """The recipe's space for so many classes and (C, H, W) of an image; UserError for settings that it cannot have."""
    try:
        arch = with_ends("space", recipe.space, {"num_classes": classes, "in_channels": input_size[0]})
        space = make_space(recipe.space["type"], arch)
        return traced(space, input_size) if isinstance(space, TracedSpace) else space
    except UserError as error:
        raise error.at("recipe") from None


def with_ends(section: str, values: Mapping[str, Any], ends: Mapping[str, int]) -> dict[str, Any]:
    """Arguments of a space: `values`, a recipe's `section`, with the data's numbers of classes and channels, `ends`.

    Raises UserError where `values` say others: such a network does not take the data, or does not load again.

    Example::

        with_ends("space", {"type": "preresnet", "depth": 20}, {"num_classes": 10, "in_channels": 3})
    """
    for key, own in ends.items():
        if (given := values.get(key, own)) != own:
            rule = f"must be {own}, as the data have"
            raise UserError(rule, argument=f"{section}.{key}", value=given, remedy="leave it away, or take other data")
    return {**ends, **{key: value for key, value in values.items() if key != "type"}}


class ImageRecipe(Protocol):
    """A recipe of a run on images."""

    @property
    def data(self) -> DataConfig:
        """Which images."""

    @property
    def seed(self) -> int:
        """Of their choice."""


def recipe_data(recipe: ImageRecipe, progress: Progress) -> ImageData:
    """The images that `recipe` names; UserError, which names its section, where they cannot be read."""
    try:
        return load_data(recipe.data, seed=recipe.seed, progress=progress)
    except UserError as error:
        raise error.of("root").under("data").at("recipe") from None


def image_figures(
    network: nn.Module, split: ImageSplit | None, *, num_workers: int, together: bool
) -> dict[str, float]:
    """Top-1 in percent and loss on `split`, computed on the device; the network stays where it was. {} without it.

    `together`: all processes of the launcher call it, share the batches, and get the same figures.
    """
    if split is None:
        return {}
    share = {"rank": get_rank(), "world_size": get_world_size()} if together else {}
    loader = eval_loader(split, batch_size=EVAL_BATCH, num_workers=num_workers, **share)
    home = next(network.parameters()).device
    figures = evaluate_top1(network.to(get_device()), loader, **share)
    network.to(home)
    return figures


CONTEXTS: dict[str, type[NetworkContext]] = {}
"""Type of the space -> class of its runs' contexts, where it is not `ImageContext`."""


def make_context(recipe: Recipe, progress: Progress, **options: Any) -> NetworkContext:
    """The context of a run of `recipe`; `options` are the fields of NetworkContext.

    Example::

        make_context(load_recipe(path), progress, checkpoint="runs/base").baseline
    """
    return CONTEXTS.get(recipe.space["type"], ImageContext)(recipe, progress, **options)
