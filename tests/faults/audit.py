"""Watches this process for what a stranger's file must never cause: processes, foreign code, foreign files, sockets.

Python's audit hooks cannot be removed, so one is installed for good and records only inside `watched()`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath

MARK = "forbidden_3f9c"
"""Part of every file name, module name and command that a payload asks for: nothing else has it."""
CANARIES = ("antigravity", "this", "turtledemo", "idlelib", "pydoc_data")
"""Modules of the standard library that nothing imports unless a payload is obeyed."""
ALWAYS = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn",
    "socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open", "ftplib.connect", "smtplib.connect",
    "code.__new__", "ctypes.dlopen",
)  # fmt: skip
"""Events that reading a file has no need of, whatever their arguments."""
MARKED = ("open", "import", "exec", "compile", "os.listdir", "os.remove", "os.rename", "os.mkdir", "shutil.copyfile")
"""Events that are ordinary, unless they concern what a payload names."""
ALLOWED_LIBRARIES = ("libc.so.6",)


@dataclass
class Watch:
    """Events seen, as text; `on` while it records."""

    on: bool = False
    seen: list[str] = field(default_factory=list)


_WATCH = Watch()


def _hook(event: str, arguments: tuple) -> None:
    if not _WATCH.on:
        return
    if event in ALWAYS:
        if event != "ctypes.dlopen" or not str(arguments[0]).endswith(ALLOWED_LIBRARIES):
            _WATCH.seen.append(f"{event} {arguments!r}"[:300])
    elif event in MARKED:
        shown = repr(arguments)
        if MARK in shown or _module(event, arguments) in CANARIES:
            _WATCH.seen.append(f"{event} {shown}"[:300])


def _module(event: str, arguments: tuple) -> str:
    """The module that an event imports: importlib.import_module tells only of the code that it runs."""
    if event == "import":
        return str(arguments[0]).partition(".")[0]
    return PurePath(getattr(arguments[0], "co_filename", "")).stem if event == "exec" else ""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yield the list of forbidden events in the block: it must stay empty. Not to be nested.

    Import what the code under test imports lazily (timm, mmdet) before: importing packages may start processes.
    """
    if not getattr(sys, "_audited_by_tests", False):
        sys.addaudithook(_hook)
        sys._audited_by_tests = True  # type: ignore[attr-defined]
    for name in CANARIES:  # a second import would go unseen
        sys.modules.pop(name, None)
    _WATCH.seen, _WATCH.on = [], True
    try:
        yield _WATCH.seen
    finally:
        _WATCH.on = False
