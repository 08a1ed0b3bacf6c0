"""Find objects in an image with a detector's TensorRT engine: TensorRT, cuda-python, NumPy and OpenCV alone.

    python detect_tensorrt.py detector.engine photo.jpg --masks masks.npz

Needs `pip install tensorrt cuda-python numpy opencv-python-headless` (or tensorrt-rtx) in the version that built the
engine, an NVIDIA GPU, `detector.engine.json` beside the engine, and detect_onnx.py and run_tensorrt.py beside this
file. An upright image goes to detector_portrait.engine, if that lies beside. Copy the three to start a deployment of
your own.
"""

from __future__ import annotations

import numpy as np
from detect_onnx import arguments, checked, chosen, fail, objects, read, show, show_times, told
from run_tensorrt import CARD, Network

WARMUP = 3


def metadata_of(path: str) -> dict[str, str]:
    """The metadata of the detector's engine at `path`, from the card beside it; ValueError for any other."""
    with open(f"{path}.json", encoding="utf-8") as file:
        card = told(file.read(), f"{path}.json", {"metadata": CARD["metadata"]})
    metadata = card.get("metadata") or {}
    if "detector" not in metadata:
        raise ValueError(f"{path}: no detector's engine; build it from a run's model_plugin_free.onnx")
    return checked(metadata, f"{path}.json: ")


def find(
    path: str, image_path: str, calls: int, *, trust: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, str], list[float]]:
    """What the engine at `path` finds in an image file, its metadata, and milliseconds on the device of `calls` calls.

    WARMUP calls before these do not count. Raises what `Network` does, and ValueError for an engine of no detector.
    """
    metadata, times_ms = metadata_of(path), []
    image = read(image_path, metadata)
    model = Network(chosen(path, metadata, image, metadata_of), trust=trust)
    metadata = model.card["metadata"]

    def network(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for _ in range(calls + WARMUP if calls else 0):
            times_ms.append(model.run(feed)[1])
        return model.run(feed)[0]

    found = objects(network, metadata, image)
    return found, metadata, times_ms[WARMUP:]


def main() -> None:
    """Parse the arguments, find the objects, show them."""
    described = "Objects in an image, by a detector's TensorRT engine."
    options = arguments("engine that `nncompress export` wrote", described)
    options.add_argument("--trust-engine", action="store_true", help="let a version-compatible engine run its code")
    args = options.parse_args()
    try:
        found, metadata, times_ms = find(args.model, args.image, args.repeat or 0, trust=args.trust_engine)
    except (OSError, KeyError, ValueError, ImportError, RuntimeError) as error:
        fail(str(error))
    show(found, metadata, args)
    if times_ms:
        show_times(times_ms)


if __name__ == "__main__":
    main()
