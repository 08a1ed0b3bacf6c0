"""The standard streams, made fit to be written to whatever the shell gave: closed ones, and any encoding."""

from __future__ import annotations

import codecs
import os
import sys

READABLE = "compress.readable"
"""The error handler of the streams: what an encoding lacks is written in its own characters."""

PLAIN = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "x", "\u00b1": "+/-", "\u2248": "~", "\u2192": "->",
    "\u2026": "...", "\u2264": "<=", "\u2265": ">=", "\u00b7": "*", "\u00b2": "^2", "\u00a0": " ", "\u2019": "'",
    "\u25cf": "*", "\u2022": "*",
}  # fmt: skip
"""What stands for the signs that this package writes."""


def open_streams() -> None:
    """Make the standard streams fit to be written to.

    Files that are opened later do not take the numbers of closed ones. Signs that an encoding lacks are written in
    plain ones, and all else that it lacks as \\xNN.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    # Python has none where they were closed at its start.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error(READABLE, _readable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=READABLE)


def _readable(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _escaped(sign) for sign in text), error.end


def _escaped(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode("ascii")
