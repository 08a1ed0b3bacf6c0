"""tools/export.py as a user calls it, and docs/deploy/run_tensorrt.py up to where a GPU is needed."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fake_tensorrt
import numpy as np
import onnx
import pytest
from fake_cuda import FakeCuda
from onnx import TensorProto, helper, numpy_helper
from run_tool import run_tool
from small_networks import SPACES, network, onnx_file

from compress.export import EngineConfig, onnx_session
from compress.export.convert import export_engine, write_onnx
from compress.export.half import is_half
from compress.export.tensorrt import cuda_device, load_engine_card
from compress.plan import UserError
from compress.spaces import Card, save_model

ROOT = Path(__file__).resolve().parents[2]
PREPROCESSING = {"input_size": [3, 32, 32], "resize": None, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run's folder as far as an export reads it."""
    folder = tmp_path_factory.mktemp("run")
    model, _ = network("preresnet", pruned=True)
    space = SPACES["preresnet"][0]
    widths = {name: module.out_channels for name, module in model.named_modules() if name in full_widths(space)}
    arch = {"depth": 11, "num_classes": 10, "widths": widths}
    card = Card("preresnet", arch, tuple("abcdefghij"), PREPROCESSING)
    save_model(folder / "model", model, card)
    return folder


def full_widths(space):
    return {group.name for group in space.groups}


def test_a_run_becomes_float32_and_float16_files_that_agree(run_folder, tmp_path):
    (full,) = write_onnx(run_folder, tmp_path / "full.onnx")
    (half,) = write_onnx(run_folder, tmp_path / "half.onnx", fp16=True)
    assert not is_half(onnx.load(full))
    assert is_half(onnx.load(half))
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    wanted, given = (onnx_session(path).run(None, {"images": images})[0] for path in (full, half))
    np.testing.assert_allclose(given, wanted, atol=2e-2 * np.abs(wanted).max())
    found = {entry.key: entry.value for entry in onnx.load(half).metadata_props}
    assert json.loads(found["preprocessing"]) == PREPROCESSING
    assert json.loads(found["classes"]) == list("abcdefghij")
    assert sorted(os.listdir(tmp_path)) == ["full.onnx", "half.onnx"]


def test_a_run_becomes_an_engine_by_the_command(run_folder, tmp_path, capfd):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    target = tmp_path / "model.engine"
    code = run_tool(
        "export", run_folder, "--to", "tensorrt-rtx", "--fp16", "--batch", "1:4:8", "--workspace", "1",
        "--compute-capability", "8.6", "8.9", "-o", target,
    )  # fmt: skip
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Engine: {target} (from {target}.onnx)"
    card = load_engine_card(target)
    assert card["precision"] == "float16"
    assert card["compute_capabilities"] == ["8.6", "8.9"]
    assert card["profile"]["images"]["max"] == [8, 3, 32, 32]
    assert json.loads(card["metadata"]["preprocessing"]) == PREPROCESSING
    assert sorted(os.listdir(tmp_path)) == ["model.engine", "model.engine.json", "model.engine.onnx"]


def test_an_onnx_file_is_used_as_it_is(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    source = onnx_file(tmp_path, "preresnet")
    config = EngineConfig(backend="tensorrt-rtx")
    assert export_engine(source, tmp_path / "m.engine", config=config) == {tmp_path / "m.engine": source}
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json", "preresnet.onnx"]


def test_a_failed_build_leaves_the_older_engine_and_its_onnx_file(run_folder, tmp_path):
    """The file made on the way to a refused engine does not replace that of the engine which is there."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    names = ("m.engine", "m.engine.json", "m.engine.onnx")
    for name in names:
        (tmp_path / name).write_text("the last good one")
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=("9.0",))
    with pytest.raises(UserError, match=r"9\.0 is not one of this version's"):
        export_engine(run_folder, tmp_path / "m.engine", config=config, fp16=True)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert {(tmp_path / name).read_text() for name in names} == {"the last good one"}


def test_a_failed_build_names_what_the_user_gave(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2, 2][:rank]) for n, rank in (("x", 3), ("y", 1))
    )
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Det", ["m"], ["y"], name="my_Det")]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UserError) as caught:
        export_engine(
            tmp_path / "m.onnx", tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx"), fp16=True
        )
    assert str(caught.value).startswith(f"{tmp_path}/m.onnx: tensorrt_rtx ")
    assert "node 'my_Det' (operator Det: unsupported node)" in str(caught.value)
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_an_engine_beside_its_own_source_does_not_replace_it(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    source = onnx_file(tmp_path, "preresnet").rename(tmp_path / "m.engine.onnx")
    with pytest.raises(UserError, match="is the file to read; give another name"):
        export_engine(source, tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx"), fp16=True)
    assert os.listdir(tmp_path) == ["m.engine.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such", "--to", "onnx", "-o", "OUT/m.onnx"], "no/such: no such file or folder; give a run's folder, "
         "or the .safetensors of a network"),
        (["no.onnx", "--to", "tensorrt-rtx", "-o", "OUT/m"], "no.onnx: no such file; `nncompress export RUN --to onnx` "
         "writes one"),
        (["x", "--to", "onnx", "-o", "OUT/m.engine"], "OUT/m.engine: must end in .onnx; correct the name"),
        (["x.onnx", "--to", "onnx", "-o", "OUT/m.onnx"], "x.onnx: is an ONNX file already; --fp16 or --uint8-input "
         "makes another of it"),
        (["x", "--to", "onnx", "--batch", "1:2:3", "-o", "OUT/m.onnx"], "--to onnx: --batch has a meaning for engines "
         "only; leave it out"),
        (["x", "--to", "tensorrt-rtx", "--batch", "4", "-o", "OUT/m"], "--batch 4: must be MIN:OPT:MAX, for example "
         "1:8:32"),
        (["x", "--to", "tensorrt-rtx", "--batch", "4:1:8", "-o", "OUT/m"], "--batch 4:1:8: must be MIN:OPT:MAX with "
         "1 <= MIN <= OPT <= MAX, for example 1:8:32"),
        (["x", "--to", "onnx", "--workspace", "5", "-o", "OUT/m.onnx"], "--to onnx: --workspace has a meaning for "
         "engines only; leave it out"),
        (["x", "--to", "tensorrt-rtx", "--timing-cache", "f", "-o", "OUT/m"], "--timing-cache: tensorrt-rtx times no "
         "kernels when it builds; leave it out"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, message, tmp_path, capsys):
    """In this process, for speed."""
    arguments = [text.replace("OUT", str(tmp_path)) for text in arguments]
    message = f"error: {message.replace('OUT', str(tmp_path))}\n"
    assert (run_tool("export", *arguments), capsys.readouterr().err) == (2, message)
    assert not os.listdir(tmp_path)


def test_half_over_its_own_source_is_refused(tmp_path):
    source = onnx_file(tmp_path, "preresnet")
    with pytest.raises(UserError, match="is the file to read; give another name"):
        write_onnx(source, tmp_path / "." / "preresnet.onnx", fp16=True)


def test_help_answers_without_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "tools/export.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "RUN_OR_ONNX" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert imported.isdisjoint({"torch", "numpy", "onnx", "tensorrt", "tensorrt_rtx"})


def test_importing_compress_export_loads_no_tensorrt():
    code = "import sys, compress.export; print([n for n in sys.modules if 'tensorrt' in n])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


RUN = runpy.run_path(str(ROOT / "docs/deploy/run_tensorrt.py"))


def test_run_tensorrt_preprocesses_as_the_card_says():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    given = RUN["preprocess"](images, PREPROCESSING)
    assert given.shape == (2, 3, 32, 32)
    assert given.dtype == np.float32
    assert given[1, 2, 3, 4] == pytest.approx((images[1, 3, 4, 2] / 255 - 0.5) / 0.25)
    with pytest.raises(ValueError, match="resize first"):
        RUN["preprocess"](images[:, :8], PREPROCESSING)
    assert RUN["preprocess"](images, PREPROCESSING | {"input": "uint8 NHWC"}) is images


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "File doesn't exist"),
        (b"garbage", "Protobuf parsing failed"),
        ("network", "tell no preprocessing"),
        ("detector", "has several inputs or outputs; detectors run in detect_onnx.py"),
        ("metadata", "m.onnx: preprocessing: mean = 'grey', which no export writes; export the network again"),
    ],
)
def test_check_onnx_refuses_files_in_one_line(content, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.onnx"
    if content in ("network", "detector", "metadata"):
        onnx_file(tmp_path, "preresnet").rename(path)
        if content == "metadata":
            proto = onnx.load(path)
            onnx.helper.set_model_props(proto, {"preprocessing": json.dumps(PREPROCESSING | {"mean": "grey"})})
            onnx.save(proto, path)
        if content == "detector":
            proto = onnx.load(path)
            proto.graph.output.append(onnx.helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1, 4]))
            proto.graph.node.append(onnx.helper.make_node("Constant", [], ["boxes"], value_floats=[0.0]))
            onnx.helper.set_model_props(proto, {"preprocessing": "{}", "detector": "{}"})
            onnx.save(proto, path)
    elif content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["check_onnx.py", str(path), "none.npz"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "docs/deploy/check_onnx.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.skipif(cuda_device() is not None, reason="this machine has a GPU")
def test_run_tensorrt_without_a_gpu_is_one_line(tmp_path):
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    command = [sys.executable, "docs/deploy/run_tensorrt.py", "m.engine", "test.npz"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: CUDA: cudaError")
    assert len(done.stderr.splitlines()) == 1


def test_fake_run_tensorrt_gives_what_the_engine_computes(tmp_path, monkeypatch):
    """With fakes of TensorRT and of CUDA: no GPU took part."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=FakeCuda()))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    tensor = {"dtype": "float32", "shape": [-1, 3, 2, 2]}
    card = {
        "backend": "tensorrt", "version": fake_tensorrt.__version__, "flags": {"version_compatible": False},
        "device": {"name": "NVIDIA A10"}, "compute_capabilities": [],
        "inputs": [{**tensor, "name": "images"}], "outputs": [{**tensor, "name": "logits", "shape": [-1, 2]}],
        "profile": {"images": {"min": [2, 3, 2, 2], "max": [4, 3, 2, 2]}},
    }  # fmt: skip
    (tmp_path / "m.engine").write_bytes(b"plan")
    (tmp_path / "m.engine.json").write_text(json.dumps(card))
    fake_tensorrt.calls.clear()
    engine = RUN["Network"](str(tmp_path / "m.engine"))
    for n in (4, 1, 3):
        images = np.arange(n * 12, dtype=np.float32).reshape(n, 3, 2, 2)
        found, ms = engine.run({"images": images})
        assert found["logits"].tolist() == [[images[i].sum(), 1.0] for i in range(n)]
        assert ms == 1.5
    assert ("set_input_shape", "images", (2, 3, 2, 2)) in fake_tensorrt.calls  # the batch of one, filled up
    with pytest.raises(ValueError, match="a batch of 5; the engine was built for 2 to 4 images"):
        engine.run({"images": np.zeros((5, 3, 2, 2))})
    card["version"] = "9.0"
    (tmp_path / "m.engine.json").write_text(json.dumps(card))
    with pytest.raises(
        RuntimeError, match=r"built by tensorrt 9\.0, and this is 10\.13\.2; build it again with this one"
    ):
        RUN["Network"](str(tmp_path / "m.engine"))
    card["version"] = fake_tensorrt.__version__
    (tmp_path / "m.engine.json").write_text(json.dumps(card))
    monkeypatch.setitem(fake_tensorrt.state, "no_engine", True)
    with pytest.raises(
        RuntimeError, match=r"cannot be loaded; it was built for NVIDIA A10; build it again for this GPU"
    ):
        RUN["Network"](str(tmp_path / "m.engine"))
