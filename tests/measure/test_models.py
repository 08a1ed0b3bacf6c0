"""ONNX files, engines and run folders behind one interface."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from digits_run import digits, trained_run
from torch import nn

from compress.export import export_onnx, quantize_int8, tensorrt
from compress.export.agreement import exported_metadata
from compress.measure.models import count_weights, open_model
from compress.plan import UserError

SIZE = (3, 6, 6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Reshape has a shape among the initializers, and BatchNorm becomes part of the convolution."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    torch.nn.init.normal_(network[1].running_mean)  # or there would be no bias to merge
    return export_onnx(network, tmp_path_factory.mktemp("models") / "m.onnx", input_size=SIZE)


def images(n, size=SIZE):
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(0))


def with_batch(path, target, size):
    """A copy of the ONNX file whose input declares a batch, and a type, of its own."""
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    onnx.save(proto, target)
    return target


def test_an_onnx_file_gives_its_logits(path):
    import onnxruntime

    model = open_model(path)
    assert (model.backend, model.device, model.shape, model.dtype) == ("onnxruntime", "cpu", SIZE, torch.float32)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"images": images(3).numpy()})
    np.testing.assert_allclose(model(images(3)).numpy(), wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model.bind(images(3))(), model(images(3)).numpy())


def test_a_fixed_batch_is_filled_up(path, tmp_path):
    fixed = open_model(with_batch(path, tmp_path / "fixed.onnx", 4))
    assert fixed.batches == (4, 4)
    for n in (1, 4, 9):
        torch.testing.assert_close(fixed(images(n)), open_model(path)(images(n)))


def test_a_run_folder_gives_what_its_file_gives():
    x_BCHW = torch.stack([digits().test.eval_view()[i][0] for i in range(8)])
    run, file = open_model(trained_run()), open_model(trained_run() / "model.onnx")
    assert run.backend == "pytorch"
    assert run.described() == file.described()
    torch.testing.assert_close(run(x_BCHW), file(x_BCHW), rtol=1e-4, atol=1e-4)


class FakeEngine:
    """An engine for 2 to 4 images on the CPU that answers with the sum of each image; knows the batches it got."""

    def __init__(self, path):
        shape = {"name": "images", "dtype": "float32", "shape": [-1, *SIZE]}
        profile = {"images": {"min": [2, *SIZE], "max": [4, *SIZE]}}
        self.card = {"backend": "tensorrt", "inputs": [shape], "profile": profile, "metadata": {"classes": "[]"}}
        self.card["outputs"] = [{"name": "logits", "dtype": "float32", "shape": [-1, 1]}]
        self.device, self.seen = torch.device("cpu"), []
        self.path = path

    def __call__(self, images):
        self.seen.append(len(images))
        return {"logits": images.sum((1, 2, 3))[:, None]}


@pytest.fixture
def fake(monkeypatch):
    """Stands for TensorRT: no GPU takes part. Gives the engines that were opened."""
    opened = []
    monkeypatch.setattr(tensorrt, "Engine", lambda path, trust: opened.append(FakeEngine(path)) or opened[-1])
    monkeypatch.setattr(tensorrt, "load_engine_card", lambda path: {"backend": "tensorrt"})
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return opened


def test_fake_engine_batches_fit_its_profile(fake):
    model = open_model("m.engine")
    assert (model.backend, model.device, model.batches) == ("tensorrt", "cuda", (2, 4))
    torch.testing.assert_close(model(images(9))[:, 0], images(9).sum((1, 2, 3)))
    assert fake[0].seen == [4, 4, 2]
    with pytest.raises(UserError, match=r"m\.engine: its metadata do not tell classes"):
        model.described()


def test_fake_engine_of_an_onnx_file_is_built_for_the_batch(fake, path, monkeypatch):
    built = []
    monkeypatch.setattr(tensorrt, "cuda_device", lambda: {"name": "a GPU"})
    monkeypatch.setattr(tensorrt, "import_fault", lambda name: None)
    monkeypatch.setattr(tensorrt, "build_engine", lambda *given, config: built.append((*given, config)))
    model = open_model(path, backend="tensorrt", batch=3)
    ((source, engine, config),) = built
    assert (source, engine.suffix, config.backend, config.batch) == (path, ".engine", "tensorrt", (3, 3, 3))
    assert fake[0].path == engine
    assert model.source == path


def test_fake_engines_of_detectors_are_refused(fake, monkeypatch):
    entry = {"name": "masks", "dtype": "float32", "shape": [1, 1]}
    card = {"backend": "tensorrt", "inputs": [entry] * 2, "outputs": [entry] * 4}
    monkeypatch.setattr(tensorrt, "Engine", lambda path, trust: SimpleNamespace(card=card))
    with pytest.raises(UserError, match=r"m\.engine: has 2 inputs and 4 outputs; only networks with one of each"):
        open_model("m.engine")


def test_fake_engine_of_another_backend(fake):
    with pytest.raises(UserError, match=r"m\.engine: a file of tensorrt; leave --backend onnxruntime out"):
        open_model("m.engine", backend="onnxruntime")


def test_folders_of_runs_have_no_backend_to_choose(tmp_path):
    with pytest.raises(
        UserError, match=r"run: runs in PyTorch alone; leave --backend onnxruntime out, or give an .onnx"
    ):
        open_model(tmp_path / "run", backend="onnxruntime")


def test_engines_need_a_gpu(path, monkeypatch):
    monkeypatch.setattr(tensorrt, "cuda_device", lambda: None)
    with pytest.raises(UserError, match="--backend tensorrt-rtx: needs an NVIDIA GPU"):
        open_model(path, backend="tensorrt-rtx")


def test_files_that_do_not_serve(path, tmp_path):
    (tmp_path / "m.engine").write_bytes(b"plan")
    (tmp_path / "broken.onnx").write_bytes(path.read_bytes()[:200])
    wide = onnx.load(path)
    wide.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    onnx.save(wide, tmp_path / "wide.onnx")
    for name, message in (
        ("absent.onnx", "no such file"),
        ("broken.onnx", "not an ONNX model, or cut off"),
        ("wide.onnx", "only the batch may be free"),
        ("absent.engine", "no such engine"),
        ("m.engine", "m.engine.json: no such file"),
        ("run", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            open_model(tmp_path / name)


def test_weights_are_counted_by_hand(path, tmp_path):
    """4 x 3 x 3 x 3 and 4 merged from the BatchNorm, 5 x 64 and 5: quantised or not."""
    assert count_weights(path) == 108 + 4 + 320 + 5
    assert count_weights(quantize_int8(path, tmp_path / "q.onnx", [images(4)])) == 108 + 4 + 320 + 5


def test_metadata_that_tell_nothing(path):
    with pytest.raises(UserError, match=r"m\.onnx: its metadata do not tell classes and preprocessing"):
        open_model(path).described()
    model = SimpleNamespace(metadata={"classes": "[", "preprocessing": "{}"})
    with pytest.raises(UserError, match="metadata entry classes: not valid JSON"):
        exported_metadata("m", model.metadata, shape=[3, 4, 4], pixels=False)
