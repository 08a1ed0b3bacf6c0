"""The one file that times a kit's networks on a device: the modules of `ondevice`, and `environment`, put together."""

from __future__ import annotations

import ast
from pathlib import Path

HEAD = '''"""Time the networks of this kit on this device: copy the whole folder there and run

    python measure_kit.py                     # with the engine that is installed; --help lists all options

It needs Python 3.8 or newer, numpy, and one engine: onnxruntime with any of its execution providers, openvino,
tensorrt, or NVIDIA's program trtexec. Every network takes turns with the unpruned one, so leave the device alone
meanwhile. Times stand in measured.json after every network; a stopped run goes on when it is started again. Bring
measured.json back beside the manifest.json that it belongs to.
"""

from __future__ import annotations
'''

ROOM = Path(__file__).resolve().parents[1]
PARTS = ("environment.py", *(f"kit/ondevice/{name}.py" for name in ("turns", "engines", "nvidia", "main")))


def kit_script() -> str:
    """The text of measure_kit.py.

    Example::

        Path("kit/measure_kit.py").write_text(kit_script())
    """
    return "\n\n".join([HEAD.rstrip(), *(_body((ROOM / part).read_text(encoding="utf-8")) for part in PARTS)]) + "\n"


def _body(source: str) -> str:
    """A module without its docstring and without what it imports from the others."""
    lines = source.splitlines()
    first, *statements = ast.parse(source).body
    imports = [each for each in statements if isinstance(each, ast.ImportFrom)]
    for each in (first, *(node for node in imports if node.level or node.module == "__future__")):
        for number in range(each.lineno - 1, each.end_lineno or each.lineno):
            lines[number] = ""
    return "\n".join(lines).strip()
