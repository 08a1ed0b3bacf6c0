"""The machine's name and the versions written beside every measurement."""

import importlib.metadata
import platform

from compress.measure import device_name, versions


def test_name_is_read_from_cpuinfo(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast(R) CPU @ 3: GHz\nprocessor\t: 1\nmodel name\t: Other\n")
    name, _, cores = device_name(cpuinfo).rpartition(", ")
    assert name == "Fast(R) CPU @ 3: GHz"
    assert int(cores.split()[0]) >= 1


def test_name_without_cpuinfo(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert device_name(cpuinfo) == device_name(tmp_path / "missing")
    assert not device_name(cpuinfo).startswith(",")


def test_versions_are_those_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == importlib.metadata.version("torch")
    assert {"torch", "torchvision", "onnx", "onnxruntime", "numpy", "mmengine"} <= set(found)


def test_absent_packages_are_left_out(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert versions() == {"python": platform.python_version()}
