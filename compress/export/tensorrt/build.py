"""Build a TensorRT engine from an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...plan import UserError, replacing, sha256, write_json
from ..agreement import check_network
from ..half import is_half, is_quantised
from ..onnx_read import read_onnx
from .backend import FLAVOURS, last_error, load_backend, message_log
from .card import FORMAT, card_path
from .config import EngineConfig
from .device import cuda_device
from .monitor import STAGE, build_monitor, stop_later
from .network import add_profile, describe_tensors, parse_onnx
from .timing_cache import attach_cache, save_cache

if TYPE_CHECKING:
    from onnx import ModelProto

if TYPE_CHECKING:
    from ...engine.hooks import Progress


def build_engine(
    onnx_path: str | Path, path: str | Path, *, config: EngineConfig, progress: Progress | None = None
) -> Path:
    """Write the engine of the ONNX file `onnx_path` to `path`, its card (`card_path`) beside it, and return `path`.

    The same code serves TensorRT 10, TensorRT 11 and TensorRT-RTX. Only TensorRT-RTX builds without a GPU; the others
    build for the first visible one. After a failure older files are untouched.

    Args:
        onnx_path: the network.
        path: the engine to write.
        config: its backend, batch sizes and options.
        progress: is told how far the build is.

    Raises UserError, in one line, when the backend is not installed or has no such option, when the file is missing,
    corrupt or holds a node that this version cannot take, or when the build fails.

    Example::

        build_engine("model.fp16.onnx", "model.engine", config=EngineConfig(backend="tensorrt-rtx", batch=(1, 8, 32)))
    """
    source, target = Path(onnx_path), Path(path)
    proto = read_onnx(source)
    check_network(source, proto)
    trt = load_backend(config.backend)
    device, half = _build_device(config.backend), is_half(proto)
    weak_half = _weak_half(trt, config, source, half=half)
    log = message_log(trt, verbose=config.verbose)
    builder = trt.Builder(log)
    network = parse_onnx(trt, builder, log, source, strongly_typed=not weak_half)
    builder_config = builder.create_builder_config()
    shapes = add_profile(builder, builder_config, network, config.batch)
    _set_options(trt, builder_config, config, weak_half=weak_half)
    file = None if config.timing_cache is None else Path(config.timing_cache)
    cache = None if file is None else attach_cache(builder_config, file, _note(progress))
    plan = _build(trt, builder, network, builder_config, log, source, progress)
    with replacing(target) as tmp:
        tmp.write_bytes(memoryview(plan))
    if file is not None:
        save_cache(cache, file)
    card = {
        **_made_with(trt, config, device, strongly_typed=not weak_half),
        **describe_tensors(network),
        "profile": shapes,
        "precision": "int8" if is_quantised(proto) else "float16" if half or weak_half else "float32",
        **_made_of(source, proto),
        "engine_sha256": sha256(target),
    }
    write_json(card_path(target), card)
    return target


def _build_device(backend: str) -> dict[str, Any] | None:
    """The GPU that `backend` builds for; None where it takes a list of GPUs instead."""
    if FLAVOURS[backend].portable:
        return None
    if (device := cuda_device()) is None:
        others = ", ".join(name for name, flavour in FLAVOURS.items() if flavour.portable)
        raise UserError(
            f"backend {backend}: builds on an NVIDIA GPU with driver, and here is none; {others} builds without"
        )
    return device


def _note(progress: Progress | None) -> Callable[[str], None]:
    """What tells the user of something on the way."""
    return progress.note if progress is not None else partial(warnings.warn, stacklevel=2)


def _made_of(source: Path, proto: ModelProto) -> dict[str, Any]:
    """What an engine's card says of the file that it was built of."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return {"onnx": {"file": source.name, "sha256": sha256(source)}, "metadata": metadata}


def _made_with(
    trt: Any, config: EngineConfig, device: dict[str, Any] | None, *, strongly_typed: bool
) -> dict[str, Any]:
    """The part of an engine's card that does not depend on the network."""
    return {
        "format": FORMAT,
        "backend": config.backend,
        "version": trt.__version__,
        "device": device,
        "compute_capabilities": list(config.compute_capabilities),
        "flags": {
            "strongly_typed": strongly_typed,
            "workspace_gib": config.workspace_gib,
            "hardware_compatible": config.hardware_compatible,
            "version_compatible": config.version_compatible,
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _weak_half(trt: Any, config: EngineConfig, source: Path, *, half: bool) -> bool:
    """Whether TensorRT 10 shall choose float16 by itself; UserError where a float32 file can only become float32."""
    if half or not config.fp16:
        return False
    if getattr(trt.BuilderFlag, "FP16", None) is None:
        raise UserError(
            f"fp16: {config.backend} {trt.__version__} takes types from the ONNX file, and {source.name} is float32; "
            "give a float16 file: compress.export.export_half or `nncompress export --fp16` writes one"
        )
    return True


def _set_options(trt: Any, builder_config: Any, config: EngineConfig, *, weak_half: bool) -> None:
    if config.workspace_gib is not None:
        builder_config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(config.workspace_gib * 2**30))
    if weak_half:
        builder_config.set_flag(trt.BuilderFlag.FP16)
    if config.detailed:
        builder_config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if config.version_compatible:
        builder_config.set_flag(_member(trt, "BuilderFlag", "VERSION_COMPATIBLE", "version_compatible"))
    if config.hardware_compatible:
        level = _member(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS", "hardware_compatible")
        builder_config.hardware_compatibility_level = level
    if config.compute_capabilities:
        known = {f"{name[2:-1]}.{name[-1]}": name for name in dir(trt.ComputeCapability) if name.startswith("SM")}
        builder_config.num_compute_capabilities = len(config.compute_capabilities)
        for index, capability in enumerate(config.compute_capabilities):
            if capability not in known:
                listed = ", ".join(sorted(known, key=float))
                raise UserError(f"compute_capabilities: {capability} is not one of this version's: {listed}")
            builder_config.set_compute_capability(getattr(trt.ComputeCapability, known[capability]), index)


def _member(trt: Any, enumeration: str, name: str, option: str) -> Any:
    found = getattr(getattr(trt, enumeration, None), name, None)
    if found is None:
        raise UserError(f"{option}: {trt.__name__} {trt.__version__} has no such flag; leave it out")
    return found


def _build(
    trt: Any, builder: Any, network: Any, builder_config: Any, log: Any, source: Path, progress: Progress | None
) -> Any:
    """The serialised engine; UserError with the builder's last error when there is none."""
    if progress is not None:
        progress.announce(STAGE)
    with stop_later() as stopped:
        monitor = build_monitor(trt, progress, stopped)
        if monitor is not None:
            builder_config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, builder_config)
    if plan is None:
        raise UserError(f"{source}: {trt.__name__} {trt.__version__} builds no engine of it ({last_error(log)})")
    if progress is not None:
        progress.done(STAGE, {})
    return plan
