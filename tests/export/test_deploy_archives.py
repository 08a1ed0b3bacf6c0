"""What docs/deploy/check_onnx.py and run_tensorrt.py read, archives and JSON: nothing is taken for something else."""

from __future__ import annotations

import json
import runpy
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

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


WRONG = [None, "text", 0, -1.5, True, [], {}, [None], ["a"], [[]], {"a": 1}, 10**400, float("nan")]
"""Values of JSON that hardly any entry may have."""


@pytest.mark.parametrize("script", [RUN, CHECK])
def test_preprocessing_that_no_export_writes_is_refused(script):
    rules = script["PREPROCESSING"]
    whole = {key: HOW[key] for key in rules}
    assert script["told"](json.dumps(whole), "m: preprocessing", rules) == whole
    for key in rules:
        for value in WRONG:
            if not (key == "resize" and value is None):
                with pytest.raises(ValueError, match=rf"^m: preprocessing: {key} = .*, which no export writes"):
                    script["told"](json.dumps(whole | {key: value}), "m: preprocessing", rules)
    for text in ("", "{", "[" * 100_000, "[]", '"text"', "null", "1" * 5000):
        with pytest.raises(ValueError, match=r"^m: preprocessing"):
            script["told"](text, "m: preprocessing", rules)


TENSOR = {"dtype": "float32", "shape": [-1, 3, 2, 2]}
CARD = {
    "backend": "tensorrt", "version": "10.13.2", "flags": {"version_compatible": False},
    "device": {"name": "NVIDIA A10"}, "compute_capabilities": [],
    "inputs": [{**TENSOR, "name": "images"}], "outputs": [{**TENSOR, "name": "logits", "shape": [-1, 2]}],
    "profile": {"images": {"min": [2, 3, 2, 2], "max": [4, 3, 2, 2]}}, "metadata": {"classes": "[]"},
}  # fmt: skip


def places(value, path=()):
    """Where values stand in nested JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def test_cards_of_engines_that_no_export_writes_are_refused(tmp_path, monkeypatch):
    """Wherever in the card something else stands."""
    runtime = SimpleNamespace(cudaGetDeviceCount=lambda: (0, 1))
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="none"))
    engine, card = tmp_path / "m.engine", tmp_path / "m.engine.json"
    card.write_text(json.dumps(CARD))
    with pytest.raises(RuntimeError, match=r"built by tensorrt 10.13.2, and this is none"):
        RUN["Network"](str(engine))
    tried = 0
    for path in places(CARD):
        for value in (7.5, [[]]):
            damaged = deepcopy(CARD)
            inner = damaged
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            card.write_text(json.dumps(damaged))
            with pytest.raises(ValueError, match=rf"m\.engine\.json: {path[0]} = "):
                RUN["Network"](str(engine))
            tried += 1
    assert tried > 60
    card.write_text(json.dumps(CARD | {"profile": {}}))
    with pytest.raises(ValueError, match="profile has no sizes of the input 'images'"):
        RUN["Network"](str(engine))
