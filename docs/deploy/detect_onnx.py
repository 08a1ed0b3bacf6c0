"""Find objects in an image with a detector's ONNX file: ONNX Runtime, NumPy, and OpenCV to read and scale the image.

    python detect_onnx.py detector.onnx photo.jpg --masks masks.npz

Everything else is in the file: its metadata entry `preprocessing` says how an image becomes the network's input, and
`detector` at which probability a pixel belongs to a mask. An upright image goes to detector_portrait.onnx, if that lies
beside detector.onnx. Copy this file to start a deployment of your own; `prepare` and `paste` are all that has to be
rebuilt in another language.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np

ENTRIES = {
    "preprocessing": {
        "input_size": ([int, int, int], None),
        "scale": ([float, float], None),
        "size_divisor": (int, None),
        "channel_order": ("RGB", "BGR"),
        "mean": [float],
        "std": [float],
        "pad_value": float,
        "exif": (bool, None),
    },
    "detector": {"mask_threshold": (float, None), "weights_sha256": (str, None)},
    "classes": ([str], [], None),
}
"""Entry of a file's metadata, JSON -> what it must be, as `fits` says."""


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of `kind`: a type, where int is for sizes, one value, or a tuple of kinds to choose.

    [kind] is a list of at least one item, [kind, kind] of two; {key: kind} is an object with these entries, of which
    absent ones are null, and {str: kind} one with any.
    """
    if isinstance(kind, tuple):
        return any(fits(value, each) for each in kind)
    if isinstance(kind, list):
        kinds = kind * len(value) if isinstance(value, list) and value and len(kind) == 1 else kind
        return isinstance(value, list) and len(kinds) == len(value) and all(map(fits, value, kinds))
    if isinstance(kind, dict):
        pairs = dict.fromkeys(value, kind[str]) if isinstance(value, dict) and str in kind else kind
        return isinstance(value, dict) and all(fits(value.get(key), each) for key, each in pairs.items())
    if kind is int:
        return type(value) is int and 1 <= value <= 65536
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e30
    return type(value) is kind if isinstance(kind, type) else bool(value == kind)


def told(text: str, name: str, kind: Any) -> Any:
    """What the JSON `text`, called `name`, says; ValueError, which names the entry, unless it is of `kind`."""
    try:
        found = json.loads(text)
        wrong = [] if fits(found, kind) else [(name, found)]
        if wrong and isinstance(found, dict):
            wrong = [(f"{name}: {key}", found.get(key)) for key in kind if not fits(found.get(key), kind[key])]
        said = [f"{place} = {value!r:.60}" for place, value in wrong]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: no JSON that can be read ({error})") from None
    if said:
        raise ValueError(f"{said[0]}, which no export writes; export the detector again")
    return found


def checked(metadata: dict[str, str], place: str = "") -> dict[str, str]:
    """A detector's `metadata`, found at `place`; ValueError where an entry is not as exports write it."""
    said = {key: told(metadata.get(key, "null"), f"{place}{key}", kind) for key, kind in ENTRIES.items()}
    if said["preprocessing"].get("input_size") is None and said["preprocessing"].get("size_divisor") is None:
        raise ValueError(
            f"{place}preprocessing: neither input_size nor size_divisor is there; export the detector again"
        )
    return metadata


def prepare(image: np.ndarray, how: dict) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """uint8 [h, w, 3], BGR -> `images` float32 [1, 3, H, W], `image_size` [1, 2], and the scales of x and y."""
    h, w = image.shape[:2]
    _, height, width = how["input_size"] or (3, math.inf, math.inf)
    long, short = how.get("scale") or ((math.inf, math.inf) if how["input_size"] else (max(h, w), min(h, w)))
    factor = min(height / h, width / w, long / max(h, w), short / min(h, w))
    h_new, w_new = (max(1, int(side * factor + 0.5)) for side in (h, w))
    if how["input_size"] is None:  # the file takes any size, of these steps
        height, width = (n + -n % how["size_divisor"] for n in (h_new, w_new))
    scaled = cv2.resize(image, (w_new, h_new), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if how["channel_order"] == "RGB":
        scaled = scaled[:, :, ::-1]
    scaled = (scaled - np.array(how["mean"], np.float32)) / np.array(how["std"], np.float32)
    padded = np.full((1, 3, height, width), how["pad_value"], np.float32)
    padded[0, :, :h_new, :w_new] = scaled.transpose(2, 0, 1)
    return padded, np.array([[h_new, w_new]], np.float32), (w_new / w, h_new / h)


def beside(path: str, how: dict, image: np.ndarray) -> str | None:
    """The file of the same network for images that stand, or lie, as this one does; None: `path` is the right one."""
    (_, height, width), (h, w) = how["input_size"] or (3, 0, 0), image.shape[:2]
    if height == width or h == w or (height > width) == (h > w):
        return None
    own, other = ("portrait", "landscape") if height > width else ("landscape", "portrait")
    file = Path(path)
    stem = file.stem.removesuffix(f"_{own}") if file.stem.endswith(f"_{own}") else f"{file.stem}_{other}"
    return str(file.with_name(stem + file.suffix))


def chosen(path: str, metadata: dict[str, str], image: np.ndarray, tell: Callable[[str], dict[str, str]]) -> str:
    """The file for the image: `path`, of these metadata, or the one `beside` it, whose metadata `tell` reads.

    Raises ValueError where that is of another network.
    """
    other = beside(path, json.loads(metadata["preprocessing"]), image)
    if other is None:
        return path
    if not Path(other).is_file():
        shape = " x ".join(map(str, image.shape[:2]))
        print(f"warning: {other} is not there, so the image of {shape} is made small for {path}", file=sys.stderr)
        return path
    here, there = (json.loads(each.get("detector", "{}")).get("weights_sha256") for each in (metadata, tell(other)))
    if here is None or here != there:
        raise ValueError(f"{other} is of another network; export both again, or move it away")
    return other


def taps(length: int, start: float, end: float, cells: int) -> np.ndarray:
    """[length, cells]: how much of each cell between `start` and `end` a pixel takes, by bilinear interpolation."""
    pixels = np.arange(length)[:, None]
    at = (pixels + 0.5 - start) / max(end - start, 1e-6) * cells - 0.5
    near = (pixels >= math.floor(start) - 1) & (pixels <= math.ceil(end))
    return np.maximum(0, 1 - np.abs(at - np.arange(cells))) * near


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, int], threshold: float) -> np.ndarray:
    """bool [h, w] of an image of `shape`: where the probabilities [28, 28] within `box` reach `threshold`."""
    rows, columns = taps(shape[0], box[1], box[3], mask.shape[0]), taps(shape[1], box[0], box[2], mask.shape[1])
    return rows @ mask @ columns.T >= threshold


def detect(session: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the network of an `onnxruntime.InferenceSession` finds in an image; see `objects`."""
    names, batch = [entry.name for entry in session.get_outputs()], session.get_inputs()[0].shape[0]

    def network(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        feed = {
            name: np.repeat(values, batch, 0) for name, values in feed.items()
        }  # of which `objects` reads the first
        return dict(zip(names, session.run(names, feed), strict=True))

    return objects(network, session.get_modelmeta().custom_metadata_map, image)


def objects(
    network: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], metadata: dict[str, str], image: np.ndarray
) -> dict[str, np.ndarray]:
    """`boxes` [n, 4] in pixels of the image (uint8 [h, w, 3], BGR), `scores`, `labels`, and `masks` bool [n, h, w].

    `network` computes the file's outputs of its inputs, by name; `metadata` are the file's.
    """
    how, settings = json.loads(metadata["preprocessing"]), json.loads(metadata["detector"])
    images, image_size, (scale_x, scale_y) = prepare(image, how)
    outputs = network({"images": images, "image_size": image_size})
    real = outputs["scores"][0] > 0
    found = {name: values[0][real] for name, values in outputs.items()}
    found["boxes"] = found["boxes"] / np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    if "masks" in found:
        if settings.get("mask_threshold") is None:
            raise ValueError("detector: tells no mask_threshold, and there are masks; export the detector again")
        pairs = zip(found["masks"], found["boxes"], strict=True)
        pasted = [paste(mask, box, image.shape[:2], settings["mask_threshold"]) for mask, box in pairs]
        found["masks"] = np.stack(pasted) if pasted else np.zeros((0, *image.shape[:2]), bool)
    return found


def latency(session: Any, image: np.ndarray, *, repeat: int) -> list[float]:
    """Milliseconds of each of `repeat` calls of the network alone, after three that do not count."""
    images, image_size, _ = prepare(image, json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"]))
    batch, times = session.get_inputs()[0].shape[0], []
    feed = {"images": images.repeat(batch, 0), "image_size": image_size.repeat(batch, 0)}
    for _ in range(repeat + 3):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(1000 * (time.perf_counter() - start))
    return times[3:]


def arguments(model: str, description: str) -> argparse.ArgumentParser:
    """What this script and the one for TensorRT take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help=model)
    parser.add_argument("image", help="JPEG or PNG")
    parser.add_argument("--score", type=float, default=0.3, help="print objects of at least this score (0.3)")
    parser.add_argument("--masks", metavar="FILE", help="write them to this .npz: masks bool [n, h, w], boxes, ...")
    parser.add_argument("--repeat", type=calls, metavar="N", help="also time N calls of the network")
    return parser


def read(path: str, metadata: dict[str, str]) -> np.ndarray:
    """The image at `path`, uint8 [h, w, 3], BGR, turned as its EXIF orientation says where the file's `metadata` do.

    The program ends where there is none.
    """
    turned = json.loads(metadata["preprocessing"]).get("exif", True)
    image = cv2.imread(path, cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        fail(f"{path}: no image that OpenCV can read")
    return image


def fail(message: str) -> NoReturn:
    """End the program with one line and code 2, as for wrong arguments."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def calls(text: str) -> int:
    """A number of calls of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least 1")
    return int(text)


def threads(text: str) -> int:
    """A number of threads, or 0; tens of thousands would end in a crash."""
    most = max(256, os.cpu_count() or 1)
    if not text.isdecimal() or int(text) > most:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at most {most}")
    return int(text)


def show(found: dict[str, np.ndarray], metadata: dict[str, str], args: argparse.Namespace) -> None:
    """Print one line for each object, and write the masks."""
    classes = json.loads(metadata.get("classes", "null")) or []
    shown = found["scores"] >= args.score
    for label, score, box in zip(*(found[name][shown] for name in ("labels", "scores", "boxes")), strict=True):
        name = classes[label] if label < len(classes) else f"class {label}"
        print(f"{name:<16} {score:.3f}  {' '.join(f'{x:7.1f}' for x in box)}")
    print(f"{int(shown.sum())} objects")
    if args.masks:
        made = f"{args.masks}.tmp"
        try:
            with open(made, "wb") as file:
                np.savez_compressed(file, **{name: values[shown] for name, values in found.items()})
            os.replace(made, args.masks)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(made)
            fail(f"--masks {args.masks}: cannot be written ({error.strerror})")


def show_times(times_ms: list[float]) -> None:
    """Print their median, and the 10th and 90th percentile."""
    low, median, high = np.percentile(times_ms, [10, 50, 90])
    print(f"{median:.1f} ms (10th percentile {low:.1f}, 90th {high:.1f}, {len(times_ms)} calls)")


def main() -> None:
    """Parse the arguments, find the objects, show them."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    refused = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
    )
    parser = arguments("ONNX file that export_detector wrote", "Objects in an image, by a detector's ONNX file.")
    parser.add_argument(
        "--threads", type=threads, default=0, help="threads of ONNX Runtime (0: as many as there are cores)"
    )
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    sessions: dict[str, Any] = {}

    def metadata(path: str) -> dict[str, str]:
        sessions[path] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = dict(sessions[path].get_modelmeta().custom_metadata_map)
        return checked(found, "" if path == args.model else f"{path}: ") if "detector" in found else found

    try:
        own = metadata(args.model)
        if "detector" not in own:
            raise ValueError("no detector's file; a run of a detector leaves one as model.onnx")
        image = read(args.image, own)
        session = sessions[chosen(args.model, own, image, metadata)]
        found = detect(session, image)
    except (OSError, KeyError, ValueError, *refused) as error:
        fail(f"{args.model}: {error}")
    show(found, session.get_modelmeta().custom_metadata_map, args)
    if args.repeat:
        show_times(latency(session, image, repeat=args.repeat))


if __name__ == "__main__":
    main()
