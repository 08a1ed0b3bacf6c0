"""A file as an installed package would bring it: on the path, and named by an entry point."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from run_tool import importable

from compress.plan import Registry


@contextmanager
def installed(folder: Path, file: Path, registry: Registry, name: str, *, value: str | None = None) -> Iterator[None]:
    """`file`, copied into `folder`, brings `name` of `registry`; afterwards neither is known any more.

    `value` is what the entry point names, the file's module unless given.
    """
    shutil.copy(file, folder)
    info = folder / f"{file.stem}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {file.stem}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.group}]\n{name} = {value or file.stem}\n")
    with importable(folder):
        try:
            yield
        finally:
            registry.pop(name, None)
            sys.modules.pop(file.stem, None)
            sys.path_importer_cache.pop(str(folder), None)
