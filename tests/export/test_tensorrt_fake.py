"""Building with TensorRT 10 and running engines, against a recorded fake module: no GPU took part in these tests."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_tensorrt import A10, images

from compress.export import Engine
from compress.export.tensorrt import build, load_engine_card, runner
from compress.plan import UserError


def test_fake_build_on_tensorrt_10(built, fake):
    found = load_engine_card(built(workspace_gib=2))
    assert found["device"] == A10
    assert found["version"] == "10.13.2"
    assert found["flags"]["strongly_typed"]
    assert ("create_network", 1 << 1) in fake.calls
    assert ("set_shape", "images", (1, 3, 2, 2), (2, 3, 2, 2), (4, 3, 2, 2)) in fake.calls
    assert ("set_memory_pool_limit", fake.MemoryPoolType.WORKSPACE, 2 * 2**30) in fake.calls
    assert not [call for call in fake.calls if call[0] == "set_flag"]


def test_fake_float16_by_flag_is_weakly_typed_and_only_on_tensorrt_10(built, fake, monkeypatch):
    found = load_engine_card(built(fp16=True))
    assert (found["precision"], found["flags"]["strongly_typed"]) == ("float16", False)
    assert ("create_network", 0) in fake.calls
    assert ("set_flag", fake.BuilderFlag.FP16) in fake.calls
    monkeypatch.setattr(fake, "BuilderFlag", type("BuilderFlag", (), {}))  # as in TensorRT 11
    monkeypatch.setattr(fake, "__version__", "11.0.0")
    with pytest.raises(
        UserError, match=r"^fp16: tensorrt 11\.0\.0 takes types from the ONNX file, and m\.onnx is float32"
    ):
        built(fp16=True)
    with pytest.raises(UserError) as caught:
        built(version_compatible=True)
    assert str(caught.value) == "version_compatible: fake_tensorrt 11.0.0 has no such flag; leave it out"


def test_fake_compatibility_flags(built, fake):
    found = load_engine_card(built(hardware_compatible=True, version_compatible=True))
    assert found["flags"]["hardware_compatible"]
    assert found["flags"]["version_compatible"]
    assert ("set_flag", fake.BuilderFlag.VERSION_COMPATIBLE) in fake.calls
    assert ("hardware_compatibility_level", fake.HardwareCompatibilityLevel.AMPERE_PLUS) in fake.calls


def test_fake_timing_cache_is_made_used_and_replaced(built, fake, tmp_path):
    file = tmp_path / "timings"
    built(timing_cache=file)
    assert file.read_bytes() == b"+timings"
    built(timing_cache=file)
    assert file.read_bytes() == b"+timings+timings"
    fake.state["refuse_cache"] = True
    with pytest.warns(UserWarning, match="timings of another GPU or TensorRT version; starting afresh") as warned:
        built(timing_cache=file)
    assert len(warned) == 1
    assert file.read_bytes() == b"+timings"
    assert all(call[2] is False for call in fake.calls if call[0] == "set_timing_cache")


def test_fake_failed_build_tells_the_last_error_and_leaves_files(built, fake, source, tmp_path):
    file = tmp_path / "timings"
    built(timing_cache=file)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fake.state["no_plan"] = True
    with pytest.raises(UserError) as caught:
        built(timing_cache=file)
    assert str(caught.value) == f"{source}: fake_tensorrt 10.13.2 builds no engine of it (out of workspace)"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_fake_module_on_a_machine_without_gpu(built, fake, monkeypatch):
    monkeypatch.setattr(build, "cuda_device", lambda: None)
    with pytest.raises(UserError) as caught:
        built()
    assert str(caught.value) == (
        "backend tensorrt: builds on an NVIDIA GPU with driver, and here is none; tensorrt-rtx builds without"
    )


def test_fake_engine_computes_on_the_addresses_it_is_given(built, fake):
    engine = Engine(built())
    for n in (1, 4, 2):  # any batch of the profile, in any order
        logits = engine(images(n))["logits"]
        assert logits.tolist() == [[6.0 * i, 1.0] for i in range(1, n + 1)]
        assert ("set_input_shape", "images", (n, 3, 2, 2)) in fake.calls
    assert {call[1] for call in fake.calls if call[0] == "execute_async_v3"} == {fake.STREAM}


def test_fake_engine_reads_images_that_are_not_contiguous(built):
    sliced = torch.arange(72.0).view(3, 3, 2, 4)[..., ::2]
    assert not sliced.is_contiguous()
    assert Engine(built())(sliced)["logits"][:, 0].tolist() == sliced.sum((1, 2, 3)).tolist()


def test_fake_engine_with_an_output_of_unknown_shape(built, fake):
    fake.state["late_shape"] = True
    logits = Engine(built())(images(3))["logits"]
    assert logits.dtype == torch.float32
    assert logits.tolist() == [[6.0, 1.0], [12.0, 1.0], [18.0, 1.0]]


def test_fake_engine_times_calls_by_events(built, fake):
    engine = Engine(built())
    fake.calls.clear()
    assert engine.time(images(2), repeats=7) == [1] * 7
    assert len([call for call in fake.calls if call[0] == "execute_async_v3"]) == 7 + runner.WARMUP


def test_fake_engine_profiles_layers_in_a_context_of_its_own(built, fake):
    engine = Engine(built())
    fake.calls.clear()
    assert engine.layer_times(images(2), repeats=5) == {"convolution": 0.25, "softmax": 0.5}
    assert fake.calls.count(("create_execution_context",)) == 1
    assert engine._context.profiler is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (images(5), "images: a batch of 5; this engine was built for 1 to 4 images"),
        (images(0), "images: a batch of 0; this engine was built for 1 to 4 images"),
        (images(2).half(), "images: (2, 3, 2, 2) of torch.float16; this engine takes (batch, 3, 2, 2) of float32"),
        (images(2)[..., :1], "images: (2, 3, 2, 1) of torch.float32; this engine takes (batch, 3, 2, 2) of float32"),
        (images(2).to("meta"), "images: lies on meta, and the engine on cpu; move it there"),
    ],
)
def test_fake_engine_refuses_images_that_do_not_fit(built, given, message):
    engine = Engine(built())
    for call in (engine, engine.time, engine.layer_times):
        with pytest.raises(UserError) as caught:
            call(given)
        assert str(caught.value) == message


@pytest.fixture
def pair(built, fake):
    """An engine of two inputs: scaled = images * scales, rows = the number of each image."""

    def compute(images, scales):
        return {"scaled": images * scales, "rows": np.arange(len(images))}

    inputs = {"images": ("FLOAT", (-1, 2)), "scales": ("FLOAT", (-1, 1))}
    outputs = {"scaled": ("FLOAT", (-1, 2)), "rows": ("INT64", (-1,))}
    fake.state["network"] = SimpleNamespace(inputs=inputs, outputs=outputs, compute=compute)
    return Engine(built())


def test_fake_engine_with_several_inputs_and_outputs(pair, fake):
    images, scales = torch.arange(6.0).view(3, 2), torch.tensor([[1.0], [2.0], [3.0]])
    for late in (False, True):
        fake.state["late_shape"] = late
        found = pair({"scales": scales, "images": images})
        assert found["scaled"].tolist() == (images * scales).tolist()
        assert (found["rows"].tolist(), found["rows"].dtype) == ([0, 1, 2], torch.int64)
    fake.state["late_shape"] = False
    assert pair.time({"images": images, "scales": scales}, repeats=3) == [1] * 3
    assert pair.layer_times({"images": images, "scales": scales}, repeats=2) == {"convolution": 0.25, "softmax": 0.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.ones(2, 2), "inputs: one tensor, and this engine takes images, scales; give {name: tensor}"),
        ({"images": torch.ones(2, 2)}, "inputs: 'scales' is missing; this engine takes images, scales; give each"),
        ({"images": torch.ones(2, 2), "scale": torch.ones(2, 1)}, "inputs: 'scale' is unknown to this engine, which "
         "takes images, scales; leave it out"),
        ({"images": torch.ones(2, 2), "scales": torch.ones(2)}, "scales: (2,) of torch.float32; this engine takes "
         "(batch, 1) of float32"),
        ({"images": torch.ones(2, 2), "scales": torch.ones(2, 1).long()}, "scales: (2, 1) of torch.int64; this engine "
         "takes (batch, 1) of float32"),
        ({"images": torch.ones(2, 2), "scales": torch.ones(5, 1)}, "scales: a batch of 5; this engine was built for 1 "
         "to 4 images"),
        ({"images": torch.ones(2, 2), "scales": torch.ones(2, 1, device="meta")}, "scales: lies on meta, and the "
         "engine on cpu; move it there"),
    ],
)  # fmt: skip
def test_fake_engine_refuses_inputs_that_do_not_fit(pair, given, message):
    for call in (pair, pair.time, pair.layer_times):
        with pytest.raises(UserError) as caught:
            call(given)
        assert str(caught.value) == message


def test_fake_engine_of_one_input_takes_it_by_name_too(built):
    engine = Engine(built())
    assert engine({"images": images(2)})["logits"].tolist() == engine(images(2))["logits"].tolist()
    with pytest.raises(UserError, match="inputs: 'pixels' is unknown to this engine, which takes images; leave it out"):
        engine({"images": images(2), "pixels": images(2)})
