"""Runs of detectors: what differs from runs of classifiers, stage by stage (`pipeline`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from torch import Tensor, nn

from ..engine.parallel import share
from ..engine.settings import TrainConfig
from ..engine.training import run
from ..pipeline.images import CONTEXTS
from ..pipeline.networks import NetworkContext
from ..pipeline.stage import Stage
from ..plan import UserError
from ..spaces import Card, Space, load_card
from .checkpoints import backbone_of, check_same_model, in_mmdetection_layout, is_narrower, write_mmdetection
from .config_file import load_config, pretrained
from .data import CocoData, evenly, head_classes
from .evaluation import average_precision, detect
from .export.supported import box_settings, check_detector, check_sizes, usual_candidates
from .files import evaluate_file
from .recipe import TRAINING, DetectionRecipe
from .sizes import check_fitting
from .space import BackboneAlone, DetectorSpace
from .stages import DEPLOYING
from .strength import strength_note
from .task import DetectionTask, DetectorTraining

SHARED = ("patch_embed.", "stages.", "absolute_pos_embed", "conv1.", "bn1.", "layer")
PRETRAINED = tuple(f"backbone.{name}" for name in SHARED)
"""What a Swin's or ResNet's classifier and a detector's backbone have in common; detectors normalise every level."""

FIGURES = ("bbox_mAP", "segm_mAP", "bbox_mAP_50", "segm_mAP_50", "per_category")
"""What stages record of a detector's average precision."""


@dataclass
class DetectionContext(NetworkContext):
    """What the stages of a detector's run are given."""

    recipe: DetectionRecipe

    unlearnt = ("input_size", "scale", "exif")

    @property
    def deploying(self) -> Sequence[Stage[Self]]:
        """Whole-detector ONNX files, timed on a validation image, and pictures for the report."""
        return DEPLOYING

    @cached_property
    def config(self) -> Config:
        """The MMDetection config that the recipe names."""
        return load_config(self.recipe.space.get("config"))

    @cached_property
    def data(self) -> CocoData:
        """The config's COCO data, checked."""
        try:
            return CocoData(self.config, self.recipe.data)
        except UserError as error:
            raise error.at("recipe") from None

    @cached_property
    def full_space(self) -> DetectorSpace:
        """The config's detector."""
        model = self.config.model.to_dict()
        return DetectorSpace(num_classes=head_classes(model), model=model)

    @property
    def untimed(self) -> str | None:  # type: ignore[override]
        """What is not exported is not timed."""
        return self.unexported

    @cached_property
    def unexported(self) -> str | None:
        """Why runs leave out the stages export and measure: what of the detector is not exported; None: they do not."""
        network = self.full_space.empty()
        try:
            check_detector(network)
            most = usual_candidates(network)
            check_sizes(network, box_settings(network).max_per_img, most, form="plugin-free")
        except UserError as error:
            return str(error)
        return None

    def check(self, stages: Sequence[str]) -> None:
        """As for every run; warns, on the first process, of what will be left out or has no effect."""
        super().check(stages)
        if stages and "export" in self.stages and not self.unexported:
            check_fitting(self.data)
        if not is_main_process():
            return
        if "search" in stages and not self.copies:
            note = strength_note(self.recipe.search, len(self.data.train), get_world_size())
            if note is not None:
                self.progress.note(note)
        if "export" in stages and self.unexported:
            warnings.warn(f"stages export and measure will be left out: {self.unexported}", stacklevel=2)
        if "train" in stages and not self.resume and self.checkpoint is None and (lost := pretrained(self.config)):
            warnings.warn(
                f"the config's weights, {lost}, are not loaded, so training starts from random ones; give the file, "
                "of a detector or a backbone alone, as --checkpoint",
                stacklevel=2,
            )
        for name in TRAINING:
            section = getattr(self.recipe, name)
            if name in stages and section.warmup_epochs and self.task.follows(section):
                warnings.warn(
                    f"{name}.warmup_epochs has no effect with schedule='step': the config's param_scheduler is "
                    "followed, with its own warm-up",
                    stacklevel=2,
                )

    @cached_property
    def baseline(self) -> tuple[nn.Module, Space]:
        """The network of --checkpoint and its space, with the config's settings for training and testing.

        A card's model section is compared with the config's, never built.
        """
        path = Path(self.checkpoint or "")
        if card := _card(path):
            try:
                check_same_model(card.arch.get("model"), self.full_space.arch["model"])
            except UserError as error:
                raise error.at(f"--checkpoint {path}") from None
        return super().baseline

    @cached_property
    def task(self) -> DetectionTask:
        """The detector's own losses."""
        return DetectionTask(self.data)

    def evaluate(self, network: nn.Module) -> dict[str, Any]:
        """Box and mask AP in percent on the validation images, with `data.evaluate_train` on the training ones too.

        Those of every category, `per_category`, are for the report.
        """
        figures = self._precision(network, self.data.test)
        if self.recipe.data.evaluate_train:
            own = self._precision(network, self.data.train_evaluation)
            figures |= {f"train_{name}": value for name, value in own.items() if name != "per_category"}
        return figures

    def evaluate_file(self, source: str, *, batch: int, threads: int, backend: str | None = None) -> dict[str, Any]:
        """AP of a run folder's network or an exported detector on the validation images.

        Args:
            source: run folder or file.
            batch: unused: detectors take one image.
            threads: of one call.
            backend: none: each has its own; UserError.
        """
        if backend is not None:
            raise UserError(
                "a detector runs in what its file is for; leave it out", argument="--backend", value=backend
            )
        return evaluate_file(self, source, threads=threads)

    @property
    def watches(self) -> bool:
        """Whether `data.watch` asks for images."""
        return self.recipe.data.watch > 0

    def watch(self, network: nn.Module) -> dict[str, float]:
        """Box AP on `data.watch` validation and training images."""
        if not self.watches:
            return {}
        n = self.recipe.data.watch
        parts = {"": self.data.test, "train_": self.data.train_evaluation}
        return {
            f"{side}bbox_mAP": self._precision(network, part.get_subset(evenly(len(part), n)))["bbox_mAP"]
            for side, part in parts.items()
        }

    def _precision(self, network: nn.Module, dataset: Any) -> dict[str, Any]:
        home = next(network.parameters()).device
        found = detect(network.to(get_device()), dataset, num_workers=self.recipe.data.num_workers)
        network.to(home)
        figures = average_precision(found, dataset.ann_file)
        return {name: figures[name] for name in FIGURES if name in figures}

    def train(self, network: nn.Module, config: TrainConfig, stage: str, *, teacher: nn.Module | None = None) -> None:
        """Train `network` in place on all training images.

        Args:
            network: trained in place.
            config: of the training.
            stage: what its records say.
            teacher: none; recipes refuse one.
        """
        job = self.job(stage)
        run(
            DetectorTraining(network, bf16=config.amp == "bf16"),
            self.task.loader(share(config.batch_size, job.processes), job),
            job,
            config=config,
            loop={"by_epoch": True, "max_epochs": config.epochs},
            optimizers=self.task.training_optimizer(config, network, name=f"{stage}.optimizer"),
            schedule=self.task.schedule(config),
            evaluate=lambda: self.watch(network),
        )

    def counted(self, network: nn.Module) -> nn.Module:
        """MACs are the backbone's: those of the heads depend on what is in the image."""
        return BackboneAlone(network)

    def save(self, stem: str, network: nn.Module, card: Card) -> None:
        """Write a network into the run's folder, and for MMDetection as `<stem>.py` and `<stem>.pth`."""
        super().save(stem, network, card)
        if is_main_process() and stem in ("baseline", "model"):
            space = DetectorSpace(**card.arch)
            write_mmdetection(self.folder / stem, network, space, self.data)

    def filled(self, space: Space, state: Mapping[str, Tensor]) -> nn.Module:
        """As for every run; training alone also takes a backbone without the rest."""
        alone = backbone_of(state) if self.aim == "train" else None
        if alone is None:
            return self._filled_whole(space, in_mmdetection_layout(state))
        fresh = space.build().state_dict()
        heads = {name: value for name, value in fresh.items() if not name.startswith(PRETRAINED)}
        alone = {name: value for name, value in alone.items() if name in fresh or name.startswith(PRETRAINED)}
        if is_main_process():
            warnings.warn(
                f"--checkpoint {self.checkpoint}: holds a backbone alone; the weights of all else are random",
                stacklevel=2,
            )
        return super().filled(space, {**heads, **alone})

    def _filled_whole(self, space: Space, state: Mapping[str, Tensor]) -> nn.Module:
        try:
            return super().filled(space, state)
        except UserError:
            if not is_narrower(state, self.full_space):
                raise
            raise UserError(
                f"--checkpoint {self.checkpoint}: of a pruned detector, and narrower than space.config; set "
                "space.config to the config that it was trained by, such as model.py of the run that pruned it"
            ) from None


def _card(path: Path) -> Card | None:
    """The card of a detector of ours at `path`; None where `path` is anything else, of which others complain."""
    try:
        card = load_card(path)
    except UserError:
        return None
    return card if card.space == DetectorSpace.name else None


CONTEXTS[DetectorSpace.name] = DetectionContext
