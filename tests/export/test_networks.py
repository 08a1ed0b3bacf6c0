"""Every network we prune, whole and pruned, in float32 and float16: the file is valid, answers right, and builds.

Weights are random (all but one test): what is checked is the arithmetic of the graphs, on crops of real photographs.
"""

import onnx
import pytest
import torch
from digits_run import digits, trained_run
from small_networks import (
    CASES,
    FULL_CASES,
    FULL_SIZE,
    SPACES,
    decided,
    decided_images,
    network,
    onnx_file,
    params,
)

from compress.engine.loaders import eval_loader
from compress.export import EngineConfig, ParityError, build_engine, compare_with_onnx, export_half
from compress.export.half import is_half
from compress.export.tensorrt import load_engine_card
from compress.spaces import load_model

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
"""Largest difference of a logit over the largest logit. One rounding to float16 is up to 5e-4, and up to 164 layers
follow each other."""

BATCHES = (6, 2)
"""Two sizes, and `compare_with_onnx` sends one image alone: the batch is free."""


@pytest.fixture(scope="module", params=params(*CASES, *FULL_CASES))
def exported(request, tmp_path_factory):
    """(side of the input, module, float32 file)."""
    name, pruned = request.param
    model, (_, side, _) = network(name, pruned=pruned)
    return side, model, onnx_file(tmp_path_factory.mktemp(name), name, pruned=pruned)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_network_of_random_weights_is_valid_agrees_and_builds(exported, precision, tmp_path):
    """onnx.checker; logits within TOLERANCE of PyTorch's and the same first classes; an engine of TensorRT-RTX.

    The images are those whose class is no near tie: TOLERANCE alone would let the first classes of many change.
    """
    side, model, path = exported
    if precision == "float16":
        path = export_half(path, tmp_path / "half.onnx")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert is_half(proto) == (precision == "float16")
    batches = [(decided_images(model, side, n), torch.zeros(n)) for n in BATCHES]
    found = compare_with_onnx(model, path, batches, tolerance=TOLERANCE[precision])
    print(f"{precision}: {found['max_rel_diff']:.2g} of the largest logit")
    assert found["max_rel_diff"] > 0  # the two are not one and the same
    assert found["top1_agreement"] == 100
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    engine = build_engine(path, tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx", batch=(1, 2, 8)))
    card = load_engine_card(engine)
    assert card["precision"] == precision
    assert [(t["name"], t["dtype"], t["shape"]) for t in card["inputs"]] == [("images", "float32", [-1, 3, side, side])]
    assert [(t["name"], t["dtype"], t["shape"][0]) for t in card["outputs"]] == [("logits", "float32", -1)]
    assert card["profile"] == {"images": {k: [n, 3, side, side] for k, n in (("min", 1), ("opt", 2), ("max", 8))}}


def test_a_trained_network_in_float16_keeps_every_first_class_of_real_images(tmp_path):
    """The digits' evaluation images, which the network classifies rightly for the most part, but for near ties."""
    model, _, _ = load_model(trained_run())
    half = export_half(trained_run() / "model.onnx", tmp_path / "half.onnx")
    batches = list(eval_loader(digits().test, batch_size=64))
    found = compare_with_onnx(model, half, batches, tolerance=TOLERANCE["float16"])
    assert found["n_images"] == len(digits().test) > 100
    assert found["top1_torch"] > 90
    decided_batches = [
        (images[kept], labels[kept]) for images, labels in batches if (kept := decided(model, images)).any()
    ]
    found = compare_with_onnx(model, half, decided_batches, tolerance=TOLERANCE["float16"])
    assert found["n_images"] > 0.9 * len(digits().test)
    assert found["top1_agreement"] == 100
    with pytest.raises(ParityError, match="max_rel_diff"):
        compare_with_onnx(model, half, batches, tolerance=TOLERANCE["float32"])


def test_the_full_size_networks_are_the_ones_promised():
    assert set(FULL_SIZE) == {"preresnet20", "preresnet164", "mobilenetv2_224", "swin_t", "deit_small"}
    assert set(SPACES) == {"preresnet", "mobilenetv2", "swin", "vit", "darts", "nats"}
