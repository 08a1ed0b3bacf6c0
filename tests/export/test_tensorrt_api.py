"""Every name of TensorRT's API that we use, listed once, compared with the installed module and with versions 10, 11.

The list is checked against the source by its syntax tree: variables that hold TensorRT's objects have the same name
everywhere (OWNERS), so whatever is read from them is a use of the API.
"""

import ast
import inspect
from pathlib import Path

import fake_tensorrt
import pytest

from compress.export.tensorrt.backend import ERRORS
from compress.export.tensorrt.network import DTYPES

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(
        ROOT / "compress/export/tensorrt" / f"{n}.py"
        for n in ("backend", "build", "network", "timing_cache", "monitor")
    ),
    ROOT / "compress/export/tensorrt/runner.py",
    ROOT / "docs/deploy/run_tensorrt.py",
]
OWNERS = {
    "trt": "",  # the module itself
    "builder": "Builder",
    "builder_config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "profile": "IOptimizationProfile",
    "tensor": "ITensor",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}
# Class ("" is the module) -> names, all of which every version must have.
USED = {
    "": {
        "__name__", "__version__", "Builder", "BuilderFlag", "ComputeCapability", "ILogger", "IOutputAllocator",
        "IProfiler", "IProgressMonitor", "Logger", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser",
        "Runtime",
    },
    "Builder": {
        "build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile",
    },
    "BuilderFlag": {"FP16"},  # read only where getattr has found it
    "IBuilderConfig": {
        "add_optimization_profile", "create_timing_cache", "hardware_compatibility_level", "num_compute_capabilities",
        "progress_monitor", "set_compute_capability", "set_flag", "set_memory_pool_limit", "set_timing_cache",
    },
    "INetworkDefinition": {"get_input", "get_output", "num_inputs", "num_outputs"},
    "OnnxParser": {"get_error", "num_errors", "parse"},
    "ParserError": {"code", "desc", "node", "node_name", "node_operator"},
    "IOptimizationProfile": {"set_shape"},
    "ITensor": {"dtype", "name", "shape"},
    "ITimingCache": {"serialize"},
    "Logger": {"ERROR"},
    "MemoryPoolType": {"WORKSPACE"},
    "ILogger": {"__init__"},
    "IOutputAllocator": {"__init__"},
    "IProfiler": {"__init__"},
    "IProgressMonitor": {"__init__"},
    "Runtime": {"deserialize_cuda_engine", "engine_host_code_allowed"},
    "ICudaEngine": {"create_execution_context"},
    "IExecutionContext": {
        "execute_async_v3", "get_tensor_shape", "profiler", "set_input_shape", "set_output_allocator",
        "set_tensor_address",
    },
}  # fmt: skip
# Asked for by getattr, and done without, or refused in one line, where it is missing.
OPTIONAL = {
    ("BuilderFlag", "FP16"), ("BuilderFlag", "VERSION_COMPATIBLE"), ("HardwareCompatibilityLevel", "AMPERE_PLUS"),
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"), ("", "IProgressMonitor"),
}  # fmt: skip
ONLY_RTX = {("", "ComputeCapability"), ("IBuilderConfig", "num_compute_capabilities")} | {
    ("IBuilderConfig", "set_compute_capability")
}
CALLBACKS = {
    "ILogger": {"log"},
    "IProfiler": {"report_layer_time"},
    "IProgressMonitor": {"phase_start", "phase_finish", "step_complete"},
}

# TensorRT 10: read in the source of its Python bindings (github.com/NVIDIA/TensorRT, python/src: infer/pyCore.cpp,
# infer/pyGraph.cpp, parsers/pyOnnx.cpp, of 10.12 or later) and its API pages; names of USED and OPTIONAL only.
# `Logger.ERROR` is there by inheritance: ILogger exports the members of its Severity, and Logger derives from it.
TENSORRT_10 = {
    "": {
        "__name__", "__version__", "Builder", "BuilderFlag", "HardwareCompatibilityLevel", "ILogger",
        "IOutputAllocator", "IProfiler", "IProgressMonitor", "Logger", "MemoryPoolType",
        "NetworkDefinitionCreationFlag", "OnnxParser", "Runtime",
    },
    "Builder": {
        "build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile",
    },
    "BuilderFlag": {"FP16", "VERSION_COMPATIBLE"},
    "HardwareCompatibilityLevel": {"AMPERE_PLUS"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "IBuilderConfig": {
        "add_optimization_profile", "create_timing_cache", "hardware_compatibility_level", "progress_monitor",
        "set_flag", "set_memory_pool_limit", "set_timing_cache",
    },
    "INetworkDefinition": {"get_input", "get_output", "num_inputs", "num_outputs"},
    "OnnxParser": {"get_error", "num_errors", "parse"},
    "ParserError": {"code", "desc", "node", "node_name", "node_operator"},
    "IOptimizationProfile": {"set_shape"},
    "ITensor": {"dtype", "name", "shape"},
    "ITimingCache": {"serialize"},
    "Logger": {"ERROR"},
    "MemoryPoolType": {"WORKSPACE"},
    "ILogger": {"__init__", "log"},
    "IOutputAllocator": {"__init__"},
    "IProfiler": {"__init__", "report_layer_time"},
    "IProgressMonitor": {"__init__", "phase_start", "phase_finish", "step_complete"},
    "Runtime": {"deserialize_cuda_engine", "engine_host_code_allowed"},
    "ICudaEngine": {"create_execution_context"},
    "IExecutionContext": {
        "execute_async_v3", "get_tensor_shape", "profiler", "set_input_shape", "set_output_allocator",
        "set_tensor_address",
    },
}  # fmt: skip
# TensorRT 11: no list of all its names was at hand; that each of ours is there is NOT verified. What is: NVIDIA's page
# of removals (docs.nvidia.com/deeplearning/tensorrt/11.4.0, "Removed Python APIs and Replacements"), of which only the
# first part could be read, names those below, and none of ours is among them but an optional one.
REMOVED_IN_11 = {
    ("BuilderFlag", name)
    for name in (
        "FP16", "INT8", "FP8", "BF16", "INT4", "FP4", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS",
    )
} | {
    ("IBuilderConfig", name)
    for name in (
        "int8_calibrator", "set_calibration_profile", "get_calibration_profile", "set_quantization_flag",
        "get_quantization_flag", "quantization_flags", "clear_quantization_flag",
    )
} | {("ICudaEngine", "device_memory_size")}  # fmt: skip


def owner_of(node):
    """The class that the expression `node` is an object of, or an enumeration of the module; None: not TensorRT's."""
    if isinstance(node, ast.Name):
        return OWNERS.get(node.id)
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return OWNERS.get(node.attr.removeprefix("_"))
        if owner_of(node.value) == "":
            return node.attr
    return None


def uses(file):
    """(read, asked): what `file` reads from TensorRT's objects, and what it asks for by getattr, hasattr or _member."""
    read, asked = set(), set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and (owner := owner_of(node.value)) is not None:
            read.add((owner, node.attr))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if node.func.id in ("getattr", "hasattr") and texts and (owner := owner_of(node.args[0])) is not None:
                asked.add((owner, texts[0]))
            if node.func.id == "_member":
                asked.add((texts[0], texts[1]))
    return read, asked


def flat(names):
    return {(owner, name) for owner, group in names.items() for name in group}


def test_the_lists_are_what_the_source_uses():
    found = [uses(file) for file in FILES]
    assert set().union(*(read for read, _ in found)) == flat(USED)
    assert set().union(*(asked for _, asked in found)) == OPTIONAL


def test_the_reader_of_sources_sees_every_form(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "trt.Builder(1)\nself._context.a(network.b)\nx = builder.c\nbuilder_config.d = trt.E.F\n"
        "getattr(trt.G, 'H', None)\n_member(trt, 'I', 'J', 'k')\nhasattr(trt, 'L')\nother.attribute\n"
    )
    read, asked = uses(file)
    assert asked == {("G", "H"), ("I", "J"), ("", "L")}
    assert read == {
        ("", "Builder"), ("IExecutionContext", "a"), ("INetworkDefinition", "b"), ("Builder", "c"),
        ("IBuilderConfig", "d"), ("", "E"), ("E", "F"), ("", "G"),
    }  # fmt: skip


def missing(trt, names):
    owners = {owner: trt if owner == "" else getattr(trt, owner, None) for owner, _ in names}
    return {(owner, name) for owner, name in names if not hasattr(owners[owner], name)}


def test_installed_tensorrt_rtx_has_them():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    assert missing(trt, flat(USED) | OPTIONAL | flat(CALLBACKS)) == {("BuilderFlag", "FP16")}


def test_installed_tensorrt_rtx_has_the_types_and_severities_that_are_known_by_name():
    """Read as `.name` of a value, which the reader of sources does not follow."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    assert set(DTYPES) <= set(trt.DataType.__members__)
    assert {*ERRORS, "WARNING"} <= set(trt.ILogger.Severity.__members__)


def test_installed_tensorrt_has_them():
    trt = pytest.importorskip("tensorrt", reason="tensorrt is not installed; it needs a GPU's driver")
    assert missing(trt, (flat(USED) | flat(CALLBACKS)) - ONLY_RTX) <= OPTIONAL


def test_tensorrt_10_has_them():
    assert (flat(USED) | OPTIONAL | flat(CALLBACKS)) - flat(TENSORRT_10) == ONLY_RTX


def test_tensorrt_11_has_removed_only_what_is_optional():
    assert (flat(USED) | flat(CALLBACKS)) & REMOVED_IN_11 == {("BuilderFlag", "FP16")} <= OPTIONAL


def test_the_fake_module_promises_nothing_that_the_real_one_has_not():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    classes = {n: c for n, c in vars(fake_tensorrt).items() if inspect.isclass(c) and c.__module__ == "fake_tensorrt"}
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "IOutputAllocator"} <= set(classes)
    names = {("", name) for name in classes} - {("", "Severity")}  # a member of ILogger
    names |= {(c, name) for c in classes for name in vars(classes[c]) if not name.startswith("_")} - {
        ("Severity", "ERROR"), ("Severity", "WARNING"),
    }  # fmt: skip
    assert missing(trt, names) == {("BuilderFlag", "FP16")}


def test_run_tensorrt_uses_names_that_cuda_python_has():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    tree = ast.parse((ROOT / "docs/deploy/run_tensorrt.py").read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("cuda")}
    names -= {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudart"}
    assert len(names) >= 10
    assert {name for name in names if not hasattr(cudart, name)} == set()
    assert hasattr(cudart.cudaMemcpyKind, "cudaMemcpyHostToDevice")
    assert hasattr(cudart.cudaMemcpyKind, "cudaMemcpyDeviceToHost")
