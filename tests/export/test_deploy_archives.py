"""What docs/deploy/check_onnx.py and run_tensorrt.py read of archives: nothing is taken for something else."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "docs/deploy"
RUN, CHECK = (runpy.run_path(str(DEPLOY / f"{name}.py")) for name in ("run_tensorrt", "check_onnx"))
HOW = {"input_size": [3, 32, 32], "resize": None, "mean": [0.5] * 3, "std": [0.25] * 3}
PIXELS, LABELS = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6)


@pytest.mark.parametrize("script", [RUN, CHECK])
@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (PIXELS, LABELS[:, None], r"test_labels are int64 \[6, 1\]; give integers \[6\]"),  # top-1 would be above 100 %
        (PIXELS, LABELS[:1], r"test_labels are int64 \[1\]; give integers \[6\]"),
        (PIXELS, LABELS / 2, "test_labels are float64"),
        (PIXELS / 255, LABELS, r"test_images are float64 \[6, 8, 8, 3\]; give uint8 \[N, H, W, C\]"),
        (PIXELS[:, 0, 0], LABELS, r"test_images are uint8 \[6, 3\]"),
        (PIXELS[:0], LABELS[:0], "test_images holds no image"),
    ],
)
def test_arrays_that_the_scripts_would_misread_are_refused(tmp_path, script, images, labels, says):
    np.savez(tmp_path / "a.npz", test_images=images, test_labels=labels)
    with pytest.raises(ValueError, match=rf"a\.npz: {says}"):
        script["read"](str(tmp_path / "a.npz"))


@pytest.mark.parametrize("script", [RUN, CHECK])
def test_archives_that_are_damaged_are_refused(tmp_path, script):
    archive = tmp_path / "a.npz"
    np.savez(archive, test_images=PIXELS, test_labels=LABELS)
    assert [part.shape for part in script["read"](str(archive))] == [PIXELS.shape, LABELS.shape]
    whole = archive.read_bytes()
    for content in (b"", whole[:200], whole.replace(bytes(64), b"x" * 64, 1)):
        archive.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz: no \.npz that can be read"):
            script["read"](str(archive))
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(ValueError, match=r"a\.npy: no \.npz that can be read"):
        script["read"](str(tmp_path / "a.npy"))


def test_images_of_other_channels_or_below_the_networks_size_are_refused():
    for shape in ((2, 3, 32, 32), (2, 32, 32, 4), (2, 24, 40, 3)):
        with pytest.raises(ValueError, match=rf"images of \{list(shape[1:])}, and the network takes \[32, 32, 3\]"):
            CHECK["preprocess"](np.zeros(shape, np.uint8), HOW)
