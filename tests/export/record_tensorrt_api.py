"""Write tensorrt_api.json: what releases of TensorRT have of the names that our code uses. Needs no GPU.

    pip download --no-deps -d wheels tensorrt_cu12_bindings==10.0.1   # and others, for this Python
    python tests/export/record_tensorrt_api.py wheels/*.whl

The wheels hold NVIDIA's Python module without the libraries that it calls. With empty ones in their place it can be
imported: names and docstrings can be read, but nothing can be built or run. Needs a C compiler (cc).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("tensorrt_api.json")
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip


def main(wheels: list[str]) -> None:
    """Describe every name in every wheel; write the record."""
    versions, names = {}, {}
    for wheel in map(Path, wheels):
        version = wheel.name.split("-")[1]
        versions[version] = {"wheel": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
        for name, described in _described(wheel, major=version.split(".")[0]).items():
            names.setdefault(name, {}).setdefault(described, []).append(version)
    lines = [f"  {json.dumps(name)}: {json.dumps(names[name])}" for name in sorted(names)]
    head = json.dumps({"how": "record_tensorrt_api.py, from the wheels below", "versions": versions}, indent=1)
    RECORD.write_text(f'{head[:-2]},\n "names": {{\n' + ",\n".join(lines) + "\n }\n}\n")
    print(f"{len(names)} names of {', '.join(versions)}: {RECORD}")


def _described(wheel: Path, *, major: str) -> dict[str, str]:
    """{name: what `describe` says of it}, in a process of its own: two releases do not fit into one."""
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        source = Path(folder) / "empty.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
        for library in LIBRARIES:
            target = f"lib{library}.so.{major}"
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{target}", "-o", f"{folder}/{target}", str(source)]
            subprocess.run(command, check=True)
        paths = os.pathsep.join([folder, str(Path(__file__).parent), str(ROOT)])
        environment = {**os.environ, "LD_LIBRARY_PATH": folder, "PYTHONPATH": paths}
        code = (
            "import json, tensorrt_bindings as trt\n"
            "from tensorrt_names import FILES, describe, uses\n"
            "found = {name: describe(trt, name) for name in uses(*FILES).names}\n"
            "print(json.dumps({name: text for name, text in found.items() if text}))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
