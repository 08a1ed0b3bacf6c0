"""Which engines run here, and what says that there is a GPU; against a fake module: no GPU took part in these tests."""

import json
import sys

import pytest
import torch
from fake_tensorrt import A10, images

from compress.export import Engine
from compress.export.tensorrt import card, device, runner
from compress.measure.backends import Backend
from compress.plan import UserError
from compress.plan.backends import BACKENDS

H100 = {"name": "NVIDIA H100", "compute_capability": "9.0", "cuda": "13.0"}
T4 = {"name": "Tesla T4", "compute_capability": "7.5", "cuda": "13.0"}


def test_fake_engine_of_later_versions_may_run_its_own_code(built, fake):
    Engine(built())
    path = built(version_compatible=True)
    with pytest.raises(UserError, match=r"carries code that runs on this machine; .* add --trust-engine"):
        Engine(path)
    kept = json.loads(card.card_path(path).read_text())
    kept["flags"]["version_compatible"] = False
    card.card_path(path).write_text(json.dumps(kept))
    Engine(path)  # TensorRT itself refuses what the card hides
    assert ("engine_host_code_allowed", True) not in fake.calls
    kept["flags"]["version_compatible"] = True
    card.card_path(path).write_text(json.dumps(kept))
    Engine(path, trust=True)
    assert ("engine_host_code_allowed", True) in fake.calls


def test_fake_engine_of_another_version(built, fake, monkeypatch):
    path = built()
    monkeypatch.setattr(fake, "__version__", "11.0.0")
    with pytest.raises(UserError) as caught:
        Engine(path)
    assert str(caught.value) == (
        f"{path}: built by tensorrt 10.13.2, and this is 11.0.0; build it again with this one, or once with "
        "--version-compatible for later versions"
    )
    monkeypatch.setattr(fake, "__version__", "10.13.2")
    path = built(version_compatible=True)
    for version, runs in (("10.14.0", True), ("11.0.0", True), ("10.12.9", False)):
        monkeypatch.setattr(fake, "__version__", version)
        if runs:
            assert Engine(path, trust=True)(images(1))["logits"].shape == (1, 2)
        else:
            with pytest.raises(UserError, match=version):
                Engine(path, trust=True)


def test_fake_engine_of_another_device(built, monkeypatch):
    path = built()
    monkeypatch.setattr(runner, "_current_device", lambda: (torch.device("cpu"), T4))
    with pytest.raises(UserError) as caught:
        Engine(path)
    assert str(caught.value) == (
        f"{path}: built for NVIDIA A10 (compute capability 8.6), and this is Tesla T4 (compute capability 7.5); "
        "build it again on this GPU, or once with --hardware-compatible for Ampere and later"
    )
    path = built(hardware_compatible=True)
    with pytest.raises(UserError, match="Tesla T4"):
        Engine(path)
    monkeypatch.setattr(runner, "_current_device", lambda: (torch.device("cpu"), H100))
    assert Engine(path)(images(1))["logits"].shape == (1, 2)


def test_which_devices_an_rtx_engine_fits():
    """No fake needed: the rule reads two dictionaries."""
    kept = {"backend": "tensorrt-rtx", "version": "1.7.1.116", "device": None, "flags": {"version_compatible": False}}
    listed = {**kept, "compute_capabilities": ["7.5", "8.9"]}
    card.check_fits("m.engine", listed, "1.7.1.116", T4)
    with pytest.raises(UserError) as caught:
        card.check_fits("m.engine", listed, "1.7.1.116", A10)
    assert str(caught.value) == (
        "m.engine: built for compute capability 7.5, 8.9, and this is NVIDIA A10 (compute capability 8.6); build it "
        "with --compute-capability 8.6"
    )
    anywhere = {**kept, "compute_capabilities": []}
    card.check_fits("m.engine", anywhere, "1.7.1.116", A10)
    card.check_fits("m.engine", anywhere, "1.7.1.116", {**H100, "compute_capability": "12.0"})
    with pytest.raises(UserError, match=r"8\.6 and later"):
        card.check_fits("m.engine", anywhere, "1.7.1.116", T4)
    with pytest.raises(
        UserError, match=r"built by tensorrt-rtx 1\.7\.1\.116, and this is 1\.8\.0; build it again with this one$"
    ):
        card.check_fits("m.engine", anywhere, "1.8.0", A10)


def test_fake_engine_that_cannot_be_loaded(built, fake):
    path = built()
    fake.state["no_engine"] = True
    with pytest.raises(UserError) as caught:
        Engine(path)
    assert str(caught.value) == f"{path}: cannot be loaded (magic tag does not match); build it again here"


@pytest.mark.skipif(device.cuda_device() is not None, reason="this machine has a GPU")
def test_running_without_a_gpu_is_one_line(built, monkeypatch):
    path = built()
    monkeypatch.undo()
    with pytest.raises(UserError) as caught:
        Engine(path)
    assert (
        str(caught.value)
        == f"{path}: running needs an NVIDIA GPU with driver, and here is none; building works without"
    )


@pytest.mark.parametrize("executable", ["/bin/false", "/no/such/python"])
def test_a_probe_that_dies_means_no_gpu(executable, monkeypatch):
    device.cuda_device.cache_clear()
    monkeypatch.setattr(sys, "executable", executable)
    try:
        assert device.cuda_device() is None
    finally:
        device.cuda_device.cache_clear()


def test_the_probe_reads_what_a_driver_says(tmp_path, monkeypatch):
    """The probe's own code, with a fake of the driver's library in place of the real one."""
    (tmp_path / "ctypes.py").write_text(
        "from types import SimpleNamespace as N\n"
        "def c_int(): return N(value=0)\n"
        "def byref(x): return x\n"
        "def create_string_buffer(n): return N(value=b'')\n"
        "def put(x, v):\n    x.value = v\n    return 0\n"
        "def CDLL(name): return N(cuInit=lambda flags: 0, cuDeviceGet=lambda x, i: put(x, i),\n"
        "    cuDeviceGetName=lambda b, n, d: put(b, b'NVIDIA A10'),\n"
        "    cuDeviceGetAttribute=lambda x, c, d: put(x, {75: 8, 76: 6}[c]),\n"
        "    cuDriverGetVersion=lambda x: put(x, 13010))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    device.cuda_device.cache_clear()
    try:
        assert device.cuda_device() == {"name": "NVIDIA A10", "compute_capability": "8.6", "cuda": "13.1"}
    finally:
        device.cuda_device.cache_clear()


def test_fake_engines_as_a_backend(built, fake, source, monkeypatch):
    """Opened by their card or built of an ONNX file, they answer as engines do."""
    monkeypatch.setattr("compress.export.tensorrt.cuda_device", lambda: A10)
    backend = BACKENDS.find("tensorrt")
    assert isinstance(backend, Backend)
    assert backend.missing() is None
    path = built()
    assert (backend.owns(path), BACKENDS.find("tensorrt-rtx").owns(path), backend.owns(source)) == (True, False, False)
    for file, batches in ((path, (1, 4)), (source, (2, 2))):
        session = backend.open(file, batch=2)
        assert (session.source, session.backend, session.batches, session.device) == (file, "tensorrt", batches, "cuda")
        assert session(images(3)).tolist() == [[6.0 * i, 1.0] for i in (1, 2, 3)]
    times = backend.time({"a": path, "b": source}, images(2), threads=1, repeats=2, warmup_seconds=0.0)
    assert [len(samples) for samples in times.samples_ms.values()] == [2, 2]
    assert backend.facts() == {"gpu": A10}
