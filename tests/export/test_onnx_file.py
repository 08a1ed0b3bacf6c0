"""Exported files: valid, free in the batch, self-contained, atomically written, and the module left alone."""

import json
import os

import onnx
import pytest
import torch
from torch import nn

from compress.export import ExportConfig, export_onnx, inference_copy, onnx_session
from compress.plan import UserError

SIZE = (3, 12, 12)


class TinyCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.bn(self.conv(x)).relu()
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Branching(TinyCNN):
    """Cannot be traced: the way depends on the values."""

    def forward(self, x):
        logits = super().forward(x)
        return logits if logits.sum() > 0 else -logits


class FrozenBatch(nn.Module):
    """Traceable, but the number of rows it returns is a constant."""

    def forward(self, x):
        return x.reshape(2, -1)[:, :5]


class TwoOutputs(TinyCNN):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits * 2


@pytest.fixture(scope="module")
def trained():
    """A CNN whose batch-norm statistics differ from a batch's own, so eval and train mode disagree."""
    torch.manual_seed(0)
    model = TinyCNN()
    with torch.no_grad():
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2.0)
    return model


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    trained.train()
    metadata = {"classes": json.dumps(["cat", "dög"]), "preprocessing": json.dumps({"mean": [0.5]})}
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert export_onnx(trained, path, input_size=SIZE, metadata=metadata) == path
    return path


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_any_batch_size_gives_eval_mode_logits(trained, exported, batch):
    images = torch.randn(batch, *SIZE)
    (logits,) = onnx_session(exported).run(["logits"], {"images": images.numpy()})
    with torch.inference_mode():
        expected = inference_copy(trained)(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-6, rtol=1e-5)


def test_metadata_comes_back(exported):
    found = onnx_session(exported).get_modelmeta().custom_metadata_map
    assert set(found) == {"classes", "preprocessing"}
    assert json.loads(found["classes"]) == ["cat", "dög"]
    assert json.loads(found["preprocessing"]) == {"mean": [0.5]}


def test_file_is_alone_and_tells_no_paths(exported):
    assert os.listdir(exported.parent) == [exported.name]
    content = exported.read_bytes()
    for path in (os.path.dirname(__file__), os.path.dirname(torch.__file__)):
        assert path.encode() not in content
    assert b"stack_trace" not in content


def test_module_keeps_mode_dtype_and_weights(tmp_path):
    model = TinyCNN().double()
    model.train()
    model.bn.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "model.onnx", input_size=SIZE)
    assert model.training
    assert model.conv.training
    assert not model.bn.training
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_same_module_same_bytes_and_nothing_printed(trained, exported, tmp_path, capfd):
    state = torch.get_rng_state()
    first, second = (export_onnx(trained, tmp_path / name, input_size=SIZE) for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_opset_is_the_one_asked_for(trained, exported, tmp_path):
    assert onnx.load(exported).opset_import[0].version == 18
    assert onnx.load(export_onnx(trained, tmp_path / "m.onnx", input_size=SIZE, opset=21)).opset_import[0].version == 21


@pytest.mark.parametrize(
    ("module", "named"), [(Branching, "Branching"), (FrozenBatch, "first axis"), (TwoOutputs, "one tensor")]
)
def test_failed_export_leaves_the_old_file(module, named, tmp_path, capfd):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the last good one")
    with pytest.raises(UserError, match=named) as caught:
        export_onnx(module(), path, input_size=SIZE)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert path.read_bytes() == b"the last good one"
    assert "GraphModule" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "options",
    [{"opset": 17}, {"opset": 23}, {"tolerance": 0.0}, {"tolerance": float("nan")}, {"parity_images": 0}],
)
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        ExportConfig(**options)


@pytest.mark.parametrize("options", [{"opset": 17}, {"input_size": (3, 12)}, {"input_size": (3, 0, 12)}])
def test_bad_arguments_write_nothing(options, tmp_path):
    (name,) = options
    with pytest.raises(UserError, match=name):
        export_onnx(TinyCNN(), tmp_path / "model.onnx", **{"input_size": SIZE, **options})
    assert not os.listdir(tmp_path)


def test_an_inference_copy_of_swin_has_hard_masks_and_the_same_outputs_to_the_last_bits():
    from compress.spaces import make_space

    torch.manual_seed(0)
    options = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "patch_size": 2}
    space = make_space(
        "swin",
        {"model": "swin_tiny_patch4_window7_224", "input_size": 32, "num_classes": 5, "options": options},
    )
    model = space.build().eval()
    copy = inference_copy(model)
    shifted = {name: b for name, b in copy.named_buffers() if name.endswith("attn_mask")}
    assert shifted
    for name, mask in shifted.items():
        assert set(mask.unique().tolist()) == {0.0, -1e4}
        assert set(model.get_buffer(name).unique().tolist()) == {0.0, -100.0}, "the model itself is left alone"
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert (copy(images) - model(images)).abs().max() <= 1e-6 * model(images).abs().max()
