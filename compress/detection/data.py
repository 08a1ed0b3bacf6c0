"""COCO data as an MMDetection config describes them: checked before anything runs, batched reproducibly."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset, Subset

from ..engine.data import Side
from ..engine.loaders import in_one_line, quiet_worker
from ..plan import Range, UserError, Workers, check_settings, read_stored
from ..plan.errors import reason
from .coco_file import MOST_BYTES, InstancesFile, lacks_mask
from .config_file import move_data
from .datasets import (
    WRAPPERS,
    annotations_of,
    check_images,
    checked_datasets,
    classes_of,
    datasets_in,
    images_of,
    kind_of,
)
from .loading import name_images, shows_upright
from .sizes import scale_of


@dataclass(frozen=True)
class DetectionData:
    """Which images a detector's run trains on and is judged by; everything else stands in the MMDetection config.

    Args:
        root: folder of the data in place of the config's `data_root`.
        input_size: sides (height, width) in pixels that exported networks take, in a second file turned; costs are
            counted at it.
        limit: at most this many training and validation images, evenly spread, for short runs; None: all.
        watch: training and validation images whose AP is computed after every epoch, evenly spread; 0: none.
        evaluate_train: compute the AP on the training images too, after every stage.
        num_workers: processes that load images; 0: the training process itself. Results do not depend on it.

    Raises:
        UserError: a value is out of its range.
    """

    root: str | None = None
    input_size: tuple[Side, Side] = (800, 1344)
    limit: Annotated[int, Range(at_least=2, at_most=2**31 - 1)] | None = None
    watch: Annotated[int, Range(at_least=0, at_most=2**31 - 1)] = 0
    evaluate_train: bool = False
    num_workers: Workers = 0

    def __post_init__(self) -> None:
        check_settings(self)
        if any(side < 32 or side % 32 for side in self.input_size):
            rule = "sides must be multiples of 32 pixels"
            raise UserError(rule, argument="input_size", value=self.input_size, remedy="choose (800, 1344)")


class CocoData:
    """Data sets of an MMDetection `config`, after `settings`.

    Raises UserError when files are missing, when the annotations have no masks and the model has a mask head, and when
    their categories are not the model's.

    Example::

        data = CocoData(Config.fromfile(path), DetectionData(root="data/coco"))
        data.train[0]["inputs"]  # uint8 [3, H, W]
    """

    name = "coco"
    evaluated_on = "val"
    seen: ClassVar[dict[str, int]] = {}

    def __init__(self, config: Config, settings: DetectionData) -> None:
        self.settings = settings
        self.config = deepcopy(config)
        if settings.root is not None:
            move_data(self.config, settings.root)
        for side, part in (("train", "train_dataloader"), ("val", "val_dataloader")):
            for one in checked_datasets(self.config, part):
                check_annotations(annotations_of(one), images_of(one), self.config.model, classes_of(one), side)
        if (settings.watch or settings.evaluate_train) and len(self._training_files) > 1:
            raise UserError(
                f"data.{'watch' if settings.watch else 'evaluate_train'}: AP of the training images needs one "
                f"annotation file, and the config's train_dataloader reads {len(self._training_files)}; leave it away"
            )

    @cached_property
    def train(self) -> Any:
        """Training images, augmented."""
        return self._built(self.config.train_dataloader.dataset)

    @cached_property
    def test(self) -> Any:
        """Validation images."""
        return self._built(self.config.val_dataloader.dataset)

    @cached_property
    def train_evaluation(self) -> Any:
        """Training images as the validation images are shown."""
        own, *_ = self._training_files.values()
        read = {key: own[key] for key in ("ann_file", "data_prefix", "data_root") if key in own}
        return self._built(ConfigDict({**self.config.val_dataloader.dataset, **read}))

    @property
    def _training_files(self) -> dict[Path, Any]:
        """Annotation file -> a section that reads it, for all that is trained on."""
        return {annotations_of(one): one for one in datasets_in(self.config.train_dataloader.dataset)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return tuple(self.test.metainfo["classes"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How the network's input comes about, as the model card records it."""
        own = self.config.model.data_preprocessor
        return {
            "input_size": [3, *self.settings.input_size],
            "scale": scale_of(self.config.val_dataloader.dataset.pipeline),
            "exif": shows_upright(self.test),
            "mean": list(own.mean),
            "std": list(own.std),
            "rgb": bool(own.get("bgr_to_rgb", False)),
            "pad_size_divisor": own.get("pad_size_divisor", 1),
        }

    def _built(self, config: ConfigDict) -> Any:
        from mmdet.registry import DATASETS
        from mmengine.registry import DefaultScope

        with (
            DefaultScope.overwrite_default_scope("mmdet"),
            contextlib.redirect_stdout(io.StringIO()),  # pycocotools prints what it does
        ):
            try:
                dataset = DATASETS.build(deepcopy(config))
                dataset.full_init()
            except ValueError as error:  # NumPy's, of no image at all
                file = annotations_of(next(datasets_in(config)))
                raise UserError(
                    f"data.root: {file}: no image is left ({reason(error)}); check its filter_cfg, which leaves out "
                    "images without objects and those below min_size"
                ) from None
        name_images(dataset)
        if self.settings.limit is not None and self.settings.limit < len(dataset):
            chosen = evenly(len(dataset), self.settings.limit)
            return Subset(dataset, chosen) if kind_of(config) in WRAPPERS else dataset.get_subset(chosen)
        return dataset


def evenly(total: int, n: int) -> list[int]:
    """`n` indices out of `total`, evenly spread; all of them where there are no more."""
    n = min(n, total)
    return [i * total // n for i in range(n)]


def check_annotations(file: Path, images: Path, model: Any, classes: Sequence[str], side: str) -> None:
    """UserError unless `file` is a COCO instances file of `classes` for `model` whose images lie in `images`."""
    if not file.is_file():
        raise UserError(f"data.root: {file}, the {side} annotations, is missing; set data.root to COCO's folder")
    try:
        value = read_stored(file, InstancesFile, remedy="give COCO's instances_*.json", most_bytes=MOST_BYTES)
    except UserError as error:
        raise error.at("data.root") from None
    names = [category["name"] for category in value["categories"]]
    check_images(images, [image["file_name"] for image in value["images"]], file=file, side=side)
    masks = "mask_head" in model.get("roi_head", {}) or "panoptic_head" in model
    if masks and (bare := [each["id"] for each in value["annotations"] if lacks_mask(each)]):
        raise UserError(
            f"data.root: annotations of {file}, {len(bare)} such as {bare[0]}, have no 'segmentation', which the "
            "model's mask head is trained on: polygons or run lengths; use COCO's instances files, or a detector "
            "without masks"
        )
    if (n := head_classes(model)) != len(names):
        raise UserError(
            f"data.root: {file} has {len(names)} categories, the model's heads have {n}; set num_classes of the "
            "config's heads (and metainfo.classes) to the data's"
        )
    if all(annotation.get("iscrowd") for annotation in value["annotations"]):
        use = "nothing to train on" if side == "train" else "nothing that AP is of"
        raise UserError(f"data.root: {file} has no object, crowds not counted: {use}; give a file with annotations")
    if names != list(classes):
        # MMDetection would leave out the categories of other names, and number the others in the file's order.
        odd = next((i for i, pair in enumerate(zip(names, classes, strict=False)) if len(set(pair)) > 1), n - 1)
        there, here = (part[odd] if odd < len(part) else None for part in (names, classes))
        raise UserError(
            f"data.root: category {odd + 1} of {file} is {there!r}, the config's data set has {here!r} there; set "
            "metainfo.classes of its data sets to the file's names, in the file's order"
        )


def head_classes(model: Any) -> int:
    """Number of classes of a config's model section: its heads' `num_classes`."""
    found = sorted({n for n in _numbers_of_classes(model) if isinstance(n, int)})
    if len(found) != 1:
        raise UserError(f"space.config: its heads have {found or 'no'} num_classes; give all of them the same")
    return found[0]


def _numbers_of_classes(section: Any) -> Iterator[Any]:
    if isinstance(section, dict):
        if "num_classes" in section and section.get("type") != "RPNHead":
            yield section["num_classes"]
        if "num_things_classes" in section:  # of MaskFormer and Mask2Former
            yield section["num_things_classes"] + section.get("num_stuff_classes", 0)
        for value in section.values():
            yield from _numbers_of_classes(value)
    elif isinstance(section, list | tuple):
        for value in section:
            yield from _numbers_of_classes(value)


class EpochLoader:
    """Shuffled batches of `dataset` (or of its `indices`), which depend on the seed and the epoch alone, down to how
    every image is augmented.

    A batch is what MMDetection's models take: {"inputs": [uint8 [3, H, W]], "data_samples": [...]}. Of `world_size`
    processes each gets its own part of every batch of world_size * batch_size images.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        seed: int,
        indices: Sequence[int] | None = None,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.indices = np.arange(len(dataset)) if indices is None else np.asarray(indices)
        self.num_workers, self.rank, self.world_size = num_workers, rank, world_size
        self.epoch = 0
        self.sampler = self  # MMEngine tells a loader's sampler the epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) that the next pass shows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.indices) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        generator = np.random.default_rng((self.seed, self.epoch, int(self.indices[0])))
        order = generator.permutation(self.indices)[: len(self) * self.batch_size * self.world_size]
        batches = order.reshape(len(self), self.world_size, self.batch_size)[:, self.rank]
        loader: DataLoader[Any] = DataLoader(
            Augmented(self.dataset, seed=int(generator.integers(2**31))),
            batch_sampler=batches.tolist(),
            num_workers=self.num_workers,
            collate_fn=pseudo_collate,
            generator=torch.Generator(),
            worker_init_fn=quiet_worker,
        )
        yield from in_one_line(iter(loader))


class Augmented(Dataset[Any]):
    """The images of `dataset`, each augmented by its index and `seed` alone, whoever loads it and when."""

    def __init__(self, dataset: Any, *, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        (seed,) = np.random.SeedSequence((self.seed, index)).generate_state(1).tolist()
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (MMDetection's transforms use the global generators)
        return self.dataset[index]


def halves(n: int, seed: int) -> tuple[list[int], list[int]]:
    """Two random halves of range(n), equally large: of an odd number one image stays out."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return sorted(order[: n // 2]), sorted(order[n // 2 : 2 * (n // 2)])
