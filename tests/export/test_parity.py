"""ONNX Runtime against PyTorch: agreement is measured rightly, disagreement is refused."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from compress.export import ParityError, compare_with_onnx, export_onnx, onnx_session
from compress.plan import UserError

SIZE = (3, 8, 8)


def cnn(classes: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, classes),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return cnn()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return export_onnx(model, tmp_path_factory.mktemp("parity") / "model.onnx", input_size=SIZE)


@pytest.fixture(scope="module")
def batches(model):
    """Batches of 5, 5 and 2; labels are the module's own answers, but wrong on three images of the first batch."""
    generator = torch.Generator().manual_seed(1)
    result = []
    for size in (5, 5, 2):
        images = torch.randn(size, *SIZE, generator=generator)
        with torch.no_grad():
            result.append((images, model.eval()(images).argmax(1)))
    result[0][1][:3] += 1
    return result


def with_changed_bias(path, target, change):
    """Copy the ONNX file with `change` applied to the classifier's bias, its only initializer of 4 numbers."""
    proto = onnx.load(path)
    (bias,) = [t for t in proto.graph.initializer if list(t.dims) == [4]]
    bias.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(bias)).astype(np.float32), bias.name))
    onnx.save(proto, target)
    return target


def test_faithful_file(model, path, batches):
    model.train()
    entry = compare_with_onnx(model, path, iter(batches), tolerance=1e-5)
    assert model.training
    assert set(entry) == {"max_abs_diff", "max_rel_diff", "n_images", "top1_onnx", "top1_torch", "top1_agreement"}
    assert entry["n_images"] == 12
    assert entry["max_rel_diff"] <= 1e-5
    assert entry["top1_torch"] == entry["top1_onnx"] == 75.0
    assert entry["top1_agreement"] == 100.0


def test_figures_of_a_known_shift(model, path, batches, tmp_path):
    """A shift of every logit by 0.5 changes no class and is reported as it is."""
    shifted = with_changed_bias(path, tmp_path / "shifted.onnx", lambda bias: bias + 0.5)
    entry = compare_with_onnx(model, shifted, batches, tolerance=100.0)
    with torch.inference_mode():
        largest = max(model.eval()(images).abs().max().item() for images, _ in batches)
    assert entry["max_abs_diff"] == pytest.approx(0.5, abs=1e-5)
    assert entry["max_rel_diff"] == pytest.approx(0.5 / largest, rel=1e-4)
    assert entry["top1_agreement"] == 100.0


def test_figures_of_a_constant_answer(model, path, batches, tmp_path):
    constant = with_changed_bias(path, tmp_path / "constant.onnx", lambda bias: bias + 1e3 * np.eye(4)[2])
    entry = compare_with_onnx(model, constant, batches, tolerance=1e9)
    labels = torch.cat([labels for _, labels in batches])
    assert entry["top1_onnx"] == pytest.approx(100 * (labels == 2).float().mean().item())
    assert entry["top1_torch"] == 75.0


def test_broken_weights_raise_with_the_figures(model, path, batches, tmp_path):
    broken = with_changed_bias(path, tmp_path / "broken.onnx", lambda bias: bias + 0.01)
    with pytest.raises(ParityError, match=r"max_rel_diff .* max_abs_diff 0\.01, top-1 agreement .* of 12 images"):
        compare_with_onnx(model, broken, batches, tolerance=1e-4)


def test_nan_is_no_agreement(model, path, batches, tmp_path):
    broken = with_changed_bias(path, tmp_path / "nan.onnx", lambda bias: bias * np.nan)
    with pytest.raises(ParityError, match="max_rel_diff nan"):
        compare_with_onnx(model, broken, batches, tolerance=1e9)


def test_other_number_of_classes(path, batches):
    with pytest.raises(ParityError, match=r"shape \(5, 4\), PyTorch \(5, 3\)"):
        compare_with_onnx(cnn(classes=3), path, batches, tolerance=1.0)


def test_first_image_is_also_run_alone(model, tmp_path, batches):
    """A file whose answer depends on the batch (the batch's mean is added) must not pass."""

    class MeanOfBatch(nn.Sequential):
        def forward(self, x):
            logits = super().forward(x)
            return logits + logits.mean(0, keepdim=True)

    coupled = MeanOfBatch(*model)
    path = export_onnx(coupled, tmp_path / "coupled.onnx", input_size=SIZE)
    with pytest.raises(ParityError):
        compare_with_onnx(coupled, path, batches, tolerance=1e-4)


def test_no_images(model, path):
    with pytest.raises(UserError, match="batches"):
        compare_with_onnx(model, path, [], tolerance=1e-4)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_corrupt_or_missing_file(path, content, tmp_path):
    target = tmp_path / "bad.onnx"
    if content is not None:
        target.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.onnx"):
        onnx_session(target)


def test_truncated_file(path, tmp_path):
    target = tmp_path / "half.onnx"
    target.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="export it again"):
        onnx_session(target)


def test_session_threads(path):
    options = onnx_session(path, threads=2).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    with pytest.raises(UserError, match="threads = 0"):
        onnx_session(path, threads=0)
