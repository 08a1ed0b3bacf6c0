"""Measure the top-1 accuracy of an exported network with ONNX Runtime and NumPy alone.

    python check_onnx.py model.onnx test.npz

The archive holds `test_images`, uint8 [N, H, W, C] (RGB, or the channels that the network was trained on; [N, H, W] are
grey levels), and `test_labels`, integers [N]. Images of other kinds become such as in training: upright by their EXIF
orientation, transparent pixels on white, the upper 8 of 16 bits, the first of several frames. Everything else is in the
ONNX file: its metadata entry `preprocessing` says how images become the network's input. Copy this file to start a
deployment of your own; `preprocess` is all that has to be rebuilt in another language. Of a file that was exported with
`--uint8-input`, only resizing and cropping are left outside.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
import zlib
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

REFUSED = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
)
"""What ONNX Runtime raises for a file that is missing, broken, or of operators that it has not."""
PREPROCESSING = {"input_size": [int, int, int], "resize": (int, None), "mean": [float], "std": [float]}
"""Entry of the metadata's `preprocessing` -> what it must be, as `fits` says."""


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
        raise ValueError(f"{said[0]}, which no export writes; export the network again")
    return found


def resize_weights(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] of bilinear, antialiased resampling along one axis: a triangle as wide as the scale."""
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / width)
    return weights / weights.sum(1, keepdims=True)


def resize(images: np.ndarray, shorter: int) -> np.ndarray:
    """uint8 [N, H, W, C], the shorter side scaled to `shorter` pixels, the aspect ratio kept."""
    height, width = images.shape[1:3]
    if min(height, width) == shorter:
        return images
    factor = shorter / min(height, width)
    rows = resize_weights(height, shorter if height <= width else int(height * factor))
    columns = resize_weights(width, shorter if width <= height else int(width * factor))
    scaled = np.einsum("rh,nhwc,dw->nrdc", rows, images.astype(np.float64), columns, optimize=True)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def spread(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [N, H, W, C]; grey levels, [N, H, W] or [N, H, W, 1], get as many equal channels as the network reads."""
    images = images[..., None] if images.ndim == 3 else images
    return np.repeat(images, channels, axis=3) if images.shape[3] == 1 else images


def preprocess(images: np.ndarray, how: dict) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, C, h, w]: resize, centre crop, scale to 0..1, normalise.

    uint8 [N, h, w, C], only resized and cropped, for a network that takes pixels.
    """
    channels, height, width = how["input_size"]
    given = list(images.shape[1:])
    images = spread(images, channels)
    if how["resize"] is not None:
        images = resize(images, how["resize"])
    if images.shape[3] != channels or images.shape[1] < height or images.shape[2] < width:
        raise ValueError(f"images of {given}, and the network takes {[height, width, channels]}")
    top, left = round((images.shape[1] - height) / 2), round((images.shape[2] - width) / 2)
    images = images[:, top : top + height, left : left + width]
    if how.get("input") == "uint8 NHWC":
        return np.ascontiguousarray(images)
    mean, std = (np.array(how[name], np.float32) for name in ("mean", "std"))
    return np.ascontiguousarray(((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def read(archive: str) -> tuple[np.ndarray, np.ndarray]:
    """`test_images` and `test_labels` of an archive; ValueError where they are not as this script takes them."""
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            images, labels = arrays["test_images"], arrays["test_labels"]
    except (EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{archive}: no .npz that can be read ({error})") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"{archive}: test_images are {images.dtype} {list(images.shape)}; give uint8 [N, H, W, C]")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{archive}: test_labels are {labels.dtype} {list(labels.shape)}; give integers [{len(images)}]"
        )
    if not len(images):
        raise ValueError(f"{archive}: test_images holds no image")
    return images, labels


def top1(model: str, archive: str, *, batch: int = 250) -> tuple[float, int]:
    """Accuracy in percent, and the number of images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    if "preprocessing" not in metadata:
        raise ValueError(f"{model}: its metadata tell no preprocessing; give a file that `nncompress export` wrote")
    if len(session.get_inputs()) + len(session.get_outputs()) != 2:
        raise ValueError(f"{model}: has several inputs or outputs; detectors run in detect_onnx.py")
    how = told(metadata["preprocessing"], f"{model}: preprocessing", PREPROCESSING)
    images, labels = read(archive)
    (entry,) = session.get_inputs()
    hits = 0
    for start in range(0, len(images), batch):
        (logits,) = session.run(None, {entry.name: preprocess(images[start : start + batch], how)})
        hits += int((logits.argmax(1) == labels[start : start + batch]).sum())
    return 100 * hits / len(images), len(images)


def main() -> None:
    """Parse the arguments and print the accuracy."""
    parser = argparse.ArgumentParser(description="Top-1 accuracy of an ONNX file with ONNX Runtime and NumPy alone.")
    parser.add_argument("model", help="ONNX file that `nncompress prune` wrote")
    parser.add_argument("archive", help=".npz with test_images, uint8 [N, H, W, C], and test_labels [N]")
    args = parser.parse_args()
    try:
        accuracy, count = top1(args.model, args.archive)
    except (OSError, KeyError, ValueError, *REFUSED) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    print(f"top-1 {accuracy:.4f} % of {count} images")


if __name__ == "__main__":
    main()
