"""Where a broken ONNX file begins to differ: the module is named, and nothing is where nothing differs."""

import numpy as np
import onnx
import pytest
import torch
from digits_run import trained_run
from onnx import numpy_helper
from small_networks import network, onnx_file
from torch import nn

from compress.export import ParityError, compare_with_onnx, divergence, export_onnx
from compress.export.divergence import first_divergence
from compress.export.onnx_file import onnx_graph
from compress.spaces import load_model


@pytest.fixture(autouse=True)
def _export_once(monkeypatch):
    """Every search exports its network again, the same each time."""
    monkeypatch.setattr(
        divergence, "onnx_graph", lambda model, **options: graph(type(model).__name__, model, **options)
    )


def graph(name, model, **options):
    if name not in GRAPHS:
        GRAPHS[name] = onnx_graph(model, **options)
    return GRAPHS[name]


GRAPHS = {}


class Twice(nn.Module):
    """A module that is called twice, and one whose own last operation is not the last inside it."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x):
        x = self.shared(self.shared(self.first(x)).relu()) * 2
        return self.last(x.mean((2, 3)))


def changed(source, target, name, change=lambda values: values * 1.02):
    """Copy the ONNX file with one initializer changed."""
    proto = onnx.load(source)
    (tensor,) = [t for t in proto.graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)).astype(np.float32), name))
    onnx.save(proto, target)
    return target


def exported(name, folder):
    """A network, its ONNX file and its input's shape."""
    if name == "preresnet":
        return load_model(trained_run())[0], trained_run() / "model.onnx", (3, 16, 16)
    model, size = network(name)
    return model, onnx_file(folder, name), size


def images(size, n=2):
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("preresnet", {"conv1.weight": "conv1", "layer2.0.conv2.weight": "layer2.0.bn3", "fc.weight": "fc"}),
        ("vit", {"patch_embed.proj.weight": "patch_embed.proj", "blocks.0.mlp.fc1.bias": "blocks.0.mlp.fc1"}),
    ],
)
def test_the_changed_weight_is_found(name, broken, tmp_path):
    """A BatchNorm is part of its convolution in the file: the node's weights tell which of the two it is."""
    model, source, size = exported(name, tmp_path)
    assert first_divergence(model, source, images(size), tolerance=1e-5) is None
    for weight, module in broken.items():
        change = (lambda values: values + 0.5) if weight.endswith("bias") else (lambda values: values * 1.02)
        found = first_divergence(
            model, changed(source, tmp_path / "bad.onnx", weight, change), images(size), tolerance=1e-4
        )
        assert found is not None
        assert found.partition(", made by ")[0] == module
        assert weight in found.partition(", made by ")[2]


def test_the_first_of_two_is_named(tmp_path):
    model, source, size = exported("preresnet", tmp_path)
    bad = changed(source, tmp_path / "a.onnx", "fc.weight")
    bad = changed(bad, tmp_path / "b.onnx", "layer1.0.conv3.weight")
    assert first_divergence(model, bad, images(size), tolerance=1e-4).startswith("layer1.0.conv3, made by Conv ")


def test_modules_called_twice(tmp_path):
    torch.manual_seed(0)
    model, size = Twice(), (3, 4, 4)
    source = export_onnx(model, tmp_path / "m.onnx", input_size=size)
    assert first_divergence(model, source, images(size), tolerance=1e-5) is None
    for name in ("first", "shared", "last"):
        bad = changed(source, tmp_path / "bad.onnx", f"{name}.weight")
        assert first_divergence(model, bad, images(size), tolerance=1e-4).startswith(f"{name}, made by ")


def test_nan_is_found(tmp_path):
    model, source, size = exported("preresnet", tmp_path)
    bad = changed(source, tmp_path / "bad.onnx", "fc.bias", lambda values: values * np.nan)
    assert first_divergence(model, bad, images(size), tolerance=1e9).startswith("fc, made by Gemm ")


def test_files_of_other_networks_have_no_answer():
    """No tensor of the file is one that an export of this model has, or none has its shape."""
    assert first_divergence(Twice(), trained_run() / "model.onnx", images((3, 16, 16)), tolerance=1e-4) is None


def test_the_parity_error_says_where_on_one_line(tmp_path):
    model, source, size = exported("preresnet", tmp_path)
    bad = changed(source, tmp_path / "bad.onnx", "layer3.0.conv1.weight")
    batches = [(images(size, 3), torch.zeros(3, dtype=torch.int64))]
    with pytest.raises(ParityError) as error:
        compare_with_onnx(model, bad, batches, tolerance=1e-5)
    assert "\n" not in str(error.value)
    assert "of 3 images; the first module that differs is layer3.0.bn2, made by Conv " in str(error.value)
    assert "layer3.0.conv1.weight" in str(error.value)
