"""The kit's command: check what is here, time every network with the unpruned one, keep each at once."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...environment import device_name, processor
from .engines import Engine, OnnxRuntime, OpenVino, StopError, installed
from .nvidia import TensorRT, Trtexec
from .turns import product_ms

FORMAT = 1
MOST_THREADS = max(256, os.cpu_count() or 1)
LEAST_MS, MOST_MS = 1e-9, 1e12

ENGINES: dict[str, Callable[[argparse.Namespace], Engine]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "tensorrt": TensorRT,
    "tensorrt-rtx": TensorRT,
    "trtexec": Trtexec,
}


def parse(arguments: list[str] | None, folder: Path) -> argparse.Namespace:
    """What the user asks for, of the kit in `folder`."""
    parser = argparse.ArgumentParser(description="Time the networks of this kit on this device.")
    parser.add_argument("--engine", choices=ENGINES, help="default: the first of these that is installed")
    parser.add_argument(
        "--provider", metavar="P", help="ONNX Runtime's execution provider, or OpenVINO's device (default: the first)"
    )
    parser.add_argument(
        "--trtexec", metavar="F", help="the program, where it is not on the PATH (with --engine trtexec)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of one call on a processor (1)")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="samples of each network (20)")
    parser.add_argument(
        "--warmup", type=float, default=0.25, metavar="S", help="seconds of calls that do not count (0.25)"
    )
    parser.add_argument("--again", action="store_true", help="forget the times that are here")
    args = parser.parse_args(arguments)
    args.folder = folder
    if args.threads < 1 or args.rounds < 4 or not 0 <= args.warmup < 1e4:
        given = f"--threads {args.threads}, --rounds {args.rounds}, --warmup {args.warmup:g}"
        raise StopError(f"{given}: at least 1 thread, 4 rounds and 0 seconds")
    if args.threads > MOST_THREADS:
        raise StopError(f"--threads {args.threads}: at most {MOST_THREADS}; more than there are cores does not help")
    if args.trtexec is not None and args.engine != "trtexec":
        raise StopError(f"--trtexec {args.trtexec}: would do nothing; give --engine trtexec as well, or leave it away")
    if args.provider is not None and args.engine not in (None, "onnxruntime", "openvino"):
        raise StopError(f"--provider {args.provider}: would do nothing with --engine {args.engine}; leave it away")
    return args


def found_engine(args: argparse.Namespace) -> Engine:
    """The engine that is asked for, or the first that is installed."""
    if args.engine is None:
        here = [name for name in list(ENGINES)[:-1] if installed(name.replace("-", "_"))]
        if not here:
            raise StopError("no engine is installed here; install onnxruntime, or give --engine trtexec")
        args.engine = here[0]
    try:
        return ENGINES[args.engine](args)
    except (ImportError, OSError, AttributeError) as error:  # the last of a version without what is called here
        raise StopError(f"--engine {args.engine}: cannot be loaded ({error}); install it, or choose another") from None


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The kit's manifest and its hash; its files must be the ones that it was made of."""
    remedy = "copy the whole kit again"
    manifest, digest = read_kept(folder / "manifest.json", ("format", "input", "networks", "files"), remedy=remedy)
    if manifest["format"] != FORMAT:
        raise StopError(f"manifest.json: of format {manifest['format']}, and this script is of {FORMAT}")
    if not is_whole(manifest):
        raise StopError(f"manifest.json: missing or damaged; {remedy}")
    for name, wanted in manifest["files"].items():
        path = folder / "networks" / Path(name).name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            raise StopError(f"networks/{path.name}: missing or damaged; {remedy}")
    return manifest, digest


def is_whole(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has an input's size, and networks whose names are no paths and whose files it lists."""
    networks, files, size = (manifest[key] for key in ("networks", "files", "input"))
    if not (isinstance(networks, list) and networks and isinstance(files, dict) and isinstance(size, list)):
        return False
    names = [network.get("name") if isinstance(network, dict) else None for network in networks]
    return (
        all(isinstance(name, str) and name.isidentifier() and f"{name}.onnx" in files for name in (*names, "unpruned"))
        and len(size) == 4
        and all(isinstance(side, int) and 1 <= side <= 65536 for side in size)
    )


def read_kept(path: Path, keys: tuple[str, ...], *, remedy: str) -> tuple[dict[str, Any], str]:
    """The JSON object in the file `path`, which has the `keys`, and the file's hash, of one look at it.

    StopError with the `remedy` where it is damaged.
    """
    try:
        content = path.read_bytes()
        found = json.loads(content)
    except (OSError, ValueError, RecursionError):
        content, found = b"", None
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise StopError(f"{path.name}: missing or damaged; {remedy}")
    return found, hashlib.sha256(content).hexdigest()


def resumed(path: Path, start: dict[str, Any], *, again: bool) -> dict[str, Any]:
    """The times in the file `path`, or, where there are none, `start`."""
    if again or not path.exists():
        return start
    remedy = "give --again to forget it"
    found, _ = read_kept(path, tuple(start), remedy=remedy)
    odd = [name for name in start if name not in ("date", "times") and found.get(name) != start[name]]
    if odd:
        raise StopError(f"{path.name}: is of another {' and '.join(odd)}; {remedy}, or take it away")
    if not (isinstance(found["times"], dict) and all(map(is_timed, found["times"].values()))):
        raise StopError(f"{path.name}: missing or damaged; {remedy}")
    return found


def is_timed(times: Any) -> bool:
    """Whether `times` are what is kept of a network: enough samples of both, all of them numbers."""
    if not isinstance(times, dict):
        return False
    samples: list[Any] = [times.get(side) for side in ("network", "unpruned")]
    if not all(isinstance(each, list) and len(each) >= 4 for each in samples):
        return False
    numbers = [times.get("reference_ms"), *(number for each in samples for number in each)]
    return all(isinstance(number, (int, float)) and LEAST_MS <= number <= MOST_MS for number in numbers)


def save(path: Path, value: dict[str, Any]) -> None:
    """Write at once or not at all."""
    made = path.with_suffix(".tmp")
    try:
        made.write_text(json.dumps(value, indent=1) + "\n")
        os.replace(made, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.unlink()
        raise StopError(f"{path}: cannot be written ({error}); give it room") from None


def timed(engine: Engine, name: str, pair: dict[str, Path], images: Any, args: argparse.Namespace) -> dict[str, Any]:
    """The samples of both networks; StopError where the engine, whose errors may be of any kind, cannot run them."""
    try:
        return engine.time(pair, images, args)
    except StopError:
        raise
    except Exception as error:
        says = " ".join(str(error).split())[:500] or type(error).__name__
        raise StopError(
            f"network {name}: {engine.backend} cannot run it ({says}); choose another --engine or --provider"
        ) from error


def measure(args: argparse.Namespace) -> None:
    """Time what is missing in measured.json."""
    manifest, digest = read_manifest(args.folder)
    engine, path = found_engine(args), args.folder / "measured.json"
    start = {
        "format": FORMAT,
        "kit": digest,
        "backend": engine.backend,
        "provider": engine.provider,
        "device": engine.device or device_name(),
        "processor": processor(),
        "versions": engine.versions,
        "threads": args.threads,
        "rounds": args.rounds,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python 3.8)
        "times": {},
    }
    value = resumed(path, start, again=args.again)
    images = np.random.default_rng(0).standard_normal(manifest["input"], dtype=np.float32)
    names = [network["name"] for network in manifest["networks"]]
    shown = " ".join(part for part in (engine.backend, engine.provider) if part)
    print(f"{len(names)} networks, {shown}, on {start['device']}", flush=True)
    for number, name in enumerate(names, start=1):
        if name not in value["times"]:
            reference_ms = product_ms()
            pair = {each: args.folder / "networks" / f"{each}.onnx" for each in (name, "unpruned")}
            samples = timed(engine, name, pair, images, args)
            value["times"][name] = {
                "network": samples[name],
                "unpruned": samples["unpruned"],
                "reference_ms": reference_ms,
            }
            save(path, value)
            ratio = float(np.median(samples[name]) / np.median(samples["unpruned"]))
            print(f"network {number} of {len(names)}: {ratio:.3f} of the unpruned latency", flush=True)
    print(f"Times: {path}")


def main(arguments: list[str] | None = None, folder: Path = Path(__file__).resolve().parent) -> int:  # noqa: B008
    """Run the command on the kit in `folder`; its exit code."""
    try:
        measure(parse(arguments, folder))
    except StopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
