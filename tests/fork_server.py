"""Runs the command-line tools as processes of their own without paying for the imports each time.

Reads one JSON request per line on stdin: {"start": [tool, argument, ...], "cwd", "stdout", "stderr", "env"} forks a
process that runs the tool, {"wait": pid} answers its exit code (negative: the signal that ended it). The children are
what a shell would start: own process, own file descriptors, `__main__`; only the modules are already loaded.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from kept_registry import keep_registry

LOADED = ("compress.pipeline.run", "compress.report.progress", "sklearn.datasets", "onnxruntime", "rich.progress")


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    load_exporter()
    # The children's collector leaves alone what is loaded, so that its pages stay shared, and looks as in conftest.py.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    answer({"ready": os.getpid()})
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer({"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])})
        else:
            pid = os.fork()
            if pid == 0:
                child(request)
            answer({"pid": pid})


def load_exporter() -> None:
    """Export something small: the exporter imports most of itself on first use."""
    import torch

    from compress.export import export_onnx

    importlib.import_module("torch.onnx._internal.exporter._registration")
    keep_registry()
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(torch.nn.Sequential(torch.nn.Flatten()), Path(folder) / "x.onnx", input_size=(1, 1, 1))


def answer(value: dict) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def child(request: dict) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, mode, path in (
        (0, os.O_RDONLY, os.devnull),
        (1, None, request["stdout"]),
        (2, None, request["stderr"]),
    ):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY if mode is None else mode)
        os.dup2(descriptor, number)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    tempfile.tempdir = None  # TMPDIR may be another
    sys.argv = request["start"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    code = 0
    if "FAULTS_MOMENT" in os.environ:
        sys.path.append(str(Path(__file__).with_name("faults")))
        importlib.import_module("moments").install()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 (what the interpreter itself does)
        traceback.print_exc()
        code = 1
    if "FAULTS_MOMENT" in os.environ:
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
