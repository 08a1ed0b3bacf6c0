"""A comparison by protocol of what is left of a detector: data that are drawn, losses of its own, box and mask AP."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

from _harness import ROOT, alone
from _protocol import digest
from _rival import Rival
from drawn_detection import draw


@cache
def config_in(file: Path) -> Any:
    """MMDetection's config, which takes seconds to read; only read it."""
    from compress.detection.config_file import load_config

    return load_config(str(file))


class DetectorRival(Rival):
    """Everything that is pruned with one seed, as `Rival`; `root` is the folder that images are drawn in."""

    @cached_property
    def drawn(self) -> Path:
        """The folder of the data set that the protocol says, drawn unless it is there."""
        own = dict(self.protocol["data"]["drawn"])
        folder = Path(self.root) / digest(own)[:12]
        with alone(folder / "drawn") as missing:
            if missing:
                draw(folder, own.pop("counts"), **own)
                (folder / "drawn").touch()
        return folder

    @cached_property
    def data(self) -> Any:
        """Training images, and what is judged on: validation images, or training images set aside, evenly spread."""
        from compress.detection.data import CocoData, DetectionData, evenly

        settings = DetectionData(root=str(self.drawn), input_size=self.protocol["data"]["input_size"])
        found = CocoData(config_in(ROOT / self.protocol["space"]["config"]), settings)
        if self.holdout:
            n = len(found.train)
            aside = evenly(n, round(self.holdout * n))
            found.test = found.train_evaluation.get_subset(aside)
            found.train = found.train.get_subset([i for i in range(n) if i not in aside])
        return found

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        height, width = self.protocol["data"]["input_size"]
        return (3, height, width)

    @cached_property
    def task(self) -> Any:
        """The detector's own losses."""
        from compress.detection.task import DetectionTask

        return DetectionTask(self.data)

    def fresh_space(self) -> Any:
        """The config's detector."""
        from compress.detection.space import DetectorSpace

        return DetectorSpace(num_classes=len(self.data.classes), model=self.data.config.model.to_dict())

    @property
    def made_from(self) -> dict[str, Any]:
        """As of every rival, and what the config says of the detector."""
        return {**super().made_from, "model": self.fresh_space().arch["model"]}

    def counted(self, network: Any) -> Any:
        """The backbone: the MACs of the heads depend on what is in the image."""
        from compress.detection.space import BackboneAlone

        return BackboneAlone(network)

    def fit(self, network: Any, config: Any, job: Any, *, teacher: Any = None) -> None:
        """Train in place on the training images; without `teacher`, which detectors have none of."""
        from compress.detection.task import DetectorTraining
        from compress.engine.training import run

        run(
            DetectorTraining(network, bf16=config.amp == "bf16"),
            self.task.loader(config.batch_size, job),
            job,
            config=config,
            loop={"by_epoch": True, "max_epochs": config.epochs},
            optimizers=self.task.training_optimizer(config, network, name=f"{job.stage}.optimizer"),
            schedule=self.task.schedule(config),
            evaluate=dict,
        )

    def figures(self, network: Any) -> dict[str, float]:
        """AP of boxes and of masks in percent."""
        from compress.detection.evaluation import average_precision, detect

        found = average_precision(detect(network, self.data.test), self.data.test.ann_file)
        return {name: found[name] for name in ("bbox_mAP", "segm_mAP", "bbox_mAP_50", "segm_mAP_50")}
