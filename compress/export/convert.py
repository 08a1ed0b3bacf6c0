"""What `nncompress export` does: a run folder or an ONNX file to ONNX or to an engine."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..engine.datasets import ImageSplit
from ..engine.loaders import eval_loader
from ..engine.sampling import stratified_split
from ..plan import UserError, replacing, scratch
from ..spaces import Card, InputSize, load_model, load_space
from .agreement import check_agrees
from .half import export_half
from .int8 import CHUNK, Int8Config, quantize_int8
from .onnx_file import export_onnx
from .onnx_read import check_other
from .pixels import export_pixels

if TYPE_CHECKING:
    from ..engine.hooks import Progress
    from .tensorrt import EngineConfig


def onnx_metadata(card: Card) -> dict[str, str]:
    """What an exported file says of itself: classes, preprocessing and architecture, as JSON."""
    from json import dumps

    return {
        "classes": dumps(card.classes),
        "preprocessing": dumps(card.preprocessing),
        "space": card.space,
        "arch": dumps(card.arch),
        "plan_sha256": card.plan_sha256 or "",
    }


def write_onnx(
    source: str | Path,
    path: str | Path,
    *,
    fp16: bool = False,
    uint8_input: bool = False,
    input_size: InputSize | None = None,
    plugin_free: bool = False,
    batch: int = 1,
) -> list[Path]:
    """Write the network in the run folder or the ONNX file `source` as an ONNX file at `path`; returns what is written.

    A detector's run gives a second file, for images of the other orientation (`other_form`). Raises UserError as
    `export_half` and `export_pixels` do, when `path` is `source` or has another extension, where `source` is already
    what is asked for, and for an `input_size` of what is no detector's run.

    Args:
        source: a run folder or an ONNX file.
        path: the file to write.
        fp16: as in `export_half`.
        uint8_input: as in `export_pixels`.
        input_size: (h, w) of a detector's images, or "any", in one file for ONNX Runtime; None: the run's.
        plugin_free: a detector is for TensorRT.
        batch: number of images that a detector takes in one call; a classifier takes any.

    Example::

        write_onnx("runs/demo", "small.onnx", fp16=True)
    """
    source, path = Path(source), Path(path)
    if path.suffix != ".onnx":
        raise UserError(f"{path}: must end in .onnx; correct the name")
    if source.suffix == ".onnx":
        if input_size is not None or batch != 1:
            flag = "--batch" if input_size is None else "--input-size"
            raise UserError(f"{source}: an ONNX file keeps its size and batch; {flag} is for the folder of a run")
        if not (fp16 or uint8_input):
            raise UserError(f"{source}: is an ONNX file already; --fp16 or --uint8-input makes another of it")
        check_other(path, source)
    with scratch() as folder:
        made = {path: source}
        if source.suffix != ".onnx":
            options = {"input_size": input_size, "plugin_free": plugin_free, "batch": batch}
            made = _of_run(source, path, folder, **options)
        for target, file in made.items():
            file = export_half(file, folder / f"half_{target.name}") if fp16 else file
            # Last, so that the normalisation is float32.
            made[target] = export_pixels(file, folder / f"pixels_{target.name}") if uint8_input else file
        for target, file in made.items():
            with replacing(target) as tmp:
                shutil.copyfile(file, tmp)
    return list(made)


def _of_run(source: Path, path: Path, folder: Path, **options: Any) -> dict[Path, Path]:
    """The network of the run folder `source` as ONNX files in `folder`, by what they are to be beside `path`."""
    model, space, card = load_model(source)
    written = space.export(model, card, folder / path.name, **options)
    if written is None and (options["input_size"] is not None or options["batch"] != 1):
        flag = "--batch" if options["input_size"] is None else "--input-size"
        raise UserError(f"{flag}: is for detectors; {source} holds a {card.space}, whose file says both; leave it out")
    files = [_export(model, card, folder / path.name)] if written is None else written
    return {path.with_name(file.name): file for file in files}


def _export(model: nn.Module, card: Card, path: Path) -> Path:
    return export_onnx(model, path, input_size=card.input_size, metadata=onnx_metadata(card))


def export_int8(
    source: str | Path,
    path: str | Path,
    data: Any,
    *,
    images: int = 256,
    seed: int = 0,
    config: Int8Config | None = None,
    uint8_input: bool = False,
) -> dict[Path, int]:
    """Write the network of the run folder `source` as an INT8 ONNX file at `path`: {file: number of images used}.

    A detector's run gives a second file, for images of the other orientation; its backbone and neck are quantised.
    Ranges are measured on `images` images out of `data.train`, chosen by `seed` (a classifier's in the classes'
    proportions) and not augmented, or on all where there are fewer; the evaluation images are not looked at. Raises
    UserError when `source` is an ONNX file, when `data` are not what its network was trained on, and as `quantize_int8`
    does.

    Args:
        source: a run folder.
        path: the file to write.
        data: what the network was trained on: `ImageData`, or a detector's.
        images: how many images ranges are measured on.
        seed: of their choice.
        config: how to quantise.
        uint8_input: take pixels, as `export_pixels` has it.

    Example::

        export_int8("runs/demo", "model.int8.onnx", load_data(DataConfig(), seed=0))
    """
    source, path = Path(source), Path(path)
    check_int8(source, path, images=images, uint8_input=uint8_input)
    model, space, card = load_model(source)
    check_agrees(source, card.classes, card.preprocessing, data)
    config = config or Int8Config()
    written = space.export_int8(model, card, path, data=data, images=images, seed=seed, config=config)
    if written is not None:
        return written
    chosen = calibration_images(data.train, images, seed=seed)
    batches = (x_BCHW for x_BCHW, _ in eval_loader(chosen, batch_size=CHUNK))
    with scratch() as folder:
        full, quantised = folder / "model.onnx", folder / "int8.onnx" if uint8_input else path
        quantize_int8(_export(model, card, full), quantised, batches, config=config)
        if uint8_input:
            export_pixels(quantised, path)
    return {path: len(chosen)}


def check_int8(source: str | Path, path: str | Path, *, images: int, uint8_input: bool = False) -> None:
    """UserError for what `export_int8` can refuse before the data are read."""
    if Path(source).suffix == ".onnx":
        raise UserError(f"{source}: an ONNX file says nothing of images to calibrate INT8 on; give the run folder")
    if Path(path).suffix != ".onnx":
        raise UserError(f"{path}: must end in .onnx; correct the name")
    if images < 1:
        raise UserError(f"--calibration-images {images}: must be at least 1; 256 is the default")
    if not (space := load_space(source)).classifier and uint8_input:
        raise UserError(
            f"{source}: holds a {space.name}, whose images are scaled and padded outside; leave --uint8-input out"
        )


def calibration_images(train: ImageSplit, images: int, *, seed: int) -> ImageSplit:
    """`images` of the training images, in the classes' proportions; all of them where there are fewer."""
    if images >= len(train):
        return train
    return train.subset(stratified_split(train.labels, images / len(train), seed=seed)[1])


def export_engine(
    source: str | Path,
    path: str | Path,
    *,
    config: EngineConfig,
    fp16: bool = False,
    uint8_input: bool = False,
    input_size: InputSize | None = None,
    progress: Progress | None = None,
) -> dict[Path, Path]:
    """Build the engine of a run folder or an ONNX file at `path`; returns it with the ONNX file that it was built from.

    That is `source` itself, or, where it has to be made, a file beside the engine: `model.engine.onnx`. A detector's
    run gives a second engine, for images of the other orientation (`other_form`). After a failure the engine that it
    befell and its file are as they were. Raises as `write_onnx` and `build_engine` do.

    Args:
        source: a run folder or an ONNX file.
        path: the engine to write.
        config: of the engine.
        fp16: float16, with float32 where it matters.
        uint8_input: take pixels, as `export_pixels` has it.
        input_size: (h, w) of a detector's images; None: the run's.
        progress: is told how far the build is.

    Example::

        export_engine("runs/demo", "model.engine", config=EngineConfig(backend="tensorrt-rtx"), fp16=True)
    """
    from .tensorrt import build_engine, load_backend

    load_backend(config.backend)  # known before minutes are spent
    source, path = Path(source), Path(path)
    if source.suffix == ".onnx" and not (fp16 or uint8_input or input_size):
        build_engine(source, path, config=config, progress=progress)
        return {path: source}
    check_other(path.with_name(f"{path.name}.onnx"), source)
    options: dict[str, Any] = {"fp16": fp16, "uint8_input": uint8_input, "input_size": input_size}
    built = {}
    with scratch() as folder:
        if (batch := _batch(config, source)) is not None:
            config = replace(config, batch=(batch, batch, batch))
            options |= {"batch": batch, "plugin_free": True}
        for made in write_onnx(source, folder / f"{path.stem}.onnx", **options):
            engine = path.with_name(f"{made.stem}{path.suffix}")
            built[engine] = kept = engine.with_name(f"{engine.name}.onnx")
            try:
                build_engine(made, engine, config=config, progress=progress)
            except UserError as error:  # in the user's words: the file made on the way is gone
                raise UserError(str(error).replace(str(made), str(source))) from error
            with replacing(kept) as tmp:
                shutil.copyfile(made, tmp)
    return built


def _batch(config: EngineConfig, source: Path) -> int | None:
    """The number of images that a file of the run `source` is to take; None: it takes any."""
    if source.suffix == ".onnx" or load_space(source).timed_batch is None:
        return None
    default = next(each.default for each in fields(config) if each.name == "batch")
    low, _, high = (1, 1, 1) if config.batch == default else config.batch
    if low != high:
        shown = ":".join(map(str, config.batch))
        rule, remedy = "a detector's file takes one number of images", f"give {high}:{high}:{high}"
        raise UserError(rule, argument="--batch", value=shown, remedy=remedy)
    return low
