"""The machine's name and the versions written beside every measurement."""

import importlib.metadata
import platform

import pytest

from compress.measure import TableConfig, device_name, table_key, versions
from compress.measure.environment import processor
from compress.spaces import PreResNetSpace


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


X86 = {
    "vendor_id": "GenuineIntel",
    "cpu family": 6,
    "model": 143,
    "model name": "Intel(R) Xeon(R) Processor",
    "stepping": 8,
    "flags": "fpu sse avx avx2 fma avx512f avx512_vnni amx_tile",
}
ARM = {
    "BogoMIPS": "50.00",
    "Features": "fp asimd asimddp sve",
    "CPU implementer": "0x41",
    "CPU part": "0xd40",
    "CPU revision": 1,
}


def written(folder, *cores):
    """A cpuinfo file of cores {name: value}."""
    blocks = ["".join(f"{name}\t: {value}\n" for name, value in core.items()) for core in cores]
    (folder / "cpuinfo").write_text("\n".join(blocks))
    return folder / "cpuinfo"


@pytest.mark.parametrize(
    ("core", "change"),
    [
        (X86, {"model": 207}),  # of another generation, under the same name
        (X86, {"stepping": 6}),
        (X86, {"cpu family": 25, "vendor_id": "AuthenticAMD"}),
        (X86, {"flags": "fpu sse avx avx2 fma avx512f avx512_vnni"}),  # the hypervisor hides one
        (ARM, {"CPU part": "0xd0c"}),
        (ARM, {"CPU implementer": "0x61"}),
        (ARM, {"Features": "fp asimd asimddp"}),
    ],
)
def test_generations_of_one_name_are_told_apart(tmp_path, core, change):
    own, other = (
        (device_name(file), processor(file))
        for file in (written(tmp_path, each, each) for each in (core, {**core, **change}))
    )
    assert own[0] == other[0]
    assert own[1] != other[1]


@pytest.mark.parametrize(
    ("cores", "found"),
    [
        (
            [X86, X86],
            "vendor_id GenuineIntel, cpu family 6, model 143, stepping 8: avx avx2 fma avx512f avx512_vnni amx_tile",
        ),
        ([ARM], "CPU implementer 0x41, CPU part 0xd40: asimd asimddp sve"),
        ([ARM, {**ARM, "CPU part": "0xd05"}], "CPU implementer 0x41, CPU part 0xd05/0xd40: asimd asimddp sve"),
    ],
    ids=["x86", "arm", "two kinds of cores"],
)
def test_processors_in_words(tmp_path, cores, found):
    assert processor(written(tmp_path, *cores)) == found
    clocked = [{**core, "cpu MHz": 2100 + i, "microcode": hex(i)} for i, core in enumerate(cores)]
    assert processor(written(tmp_path, *clocked)) == found, "what changes from day to day does not count"


def test_a_processor_without_cpuinfo_is_named_too(tmp_path):
    assert processor(tmp_path / "missing") == (platform.processor() or platform.machine())


def test_tables_are_of_this_processor():
    assert table_key(PreResNetSpace(11, 5), (3, 16, 16), TableConfig())["processor"] == processor()


def test_versions_are_those_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == importlib.metadata.version("torch")
    assert {"torch", "torchvision", "onnx", "onnxruntime", "numpy", "mmengine"} <= set(found)


def test_versions_of_further_packages_come_last():
    found = versions("pytest", "torch", "no-such-package")
    assert {name: found[name] for name in versions()} == versions()
    assert list(found) == [*versions(), "pytest"]


def test_absent_packages_are_left_out(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert versions() == {"python": platform.python_version()}
