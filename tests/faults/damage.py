"""Damaged copies of real files, and reading them in little memory."""

from __future__ import annotations

import os
import random
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from campaign import obeys, tally

MEMORY_BYTES = 1 << 30
"""What reading may take beyond what the process has, where a file claims far more."""
SECONDS = 20
"""What reading one file may take, wherever it is read; a thousandth is usual."""


def damages(content: bytes, count: int, *, seed: int = 0) -> Iterator[bytes]:
    """`count` copies of `content`: bits flipped, bytes overwritten, ends cut off, pieces removed, repeated or moved."""
    draw = random.Random(seed)
    for i in range(count):
        data = bytearray(content)
        place = draw.randrange(len(data))
        end = min(len(data), place + draw.choice((1, 4, 16, 200)))
        match i % 6:
            case 0:
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                for _ in range(draw.choice((1, 3, 30))):
                    data[draw.randrange(len(data))] = draw.randrange(256)
            case 2:
                data = data[:place]
            case 3:
                del data[place:end]
            case 4:
                data[place:place] = data[place:end]
            case 5:
                data[place:end] = bytes([draw.choice((0, 255))]) * (end - place)
        yield bytes(data)


def campaign(kind: str, file: Path, content: bytes, count: int, read: Callable[[Path], Any], *, seed: int = 0) -> None:
    """Every damaged copy of `content`, as `file`, is read or refused in one line; some of each, or the test is idle."""
    file.write_bytes(content)
    read(file)  # works, and imports what it needs
    wrong: list[str] = []
    refused = 0
    for i, data in enumerate(damages(content, count, seed=seed)):
        file.write_bytes(data)
        try:
            refused += _within(lambda: read(file), source=file.name) is not None
        except Exception as error:  # noqa: BLE001 (whatever comes is what the campaign looks for)
            wrong.append(f"case {i}: {type(error).__name__}: {str(error)[:200]}")
    tally(kind, count, count - len(wrong))
    assert not wrong, f"{len(wrong)} of {count}: {wrong[:5]}"
    assert refused > count // 10, f"only {refused} of {count} were refused"


def _within(read: Callable[[], Any], *, source: str) -> str | None:
    """`obeys`, or TimeoutError after SECONDS."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"{source}: took {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other libraries remark of damaged files
            return obeys(read, source=source)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def in_little_memory(read: Callable[[], Any], *, source: str) -> str:
    """What `obeys` gives in a forked process that may take MEMORY_BYTES more; the empty text where `read` works."""
    receiver, sender = os.pipe()
    if (child := os.fork()) == 0:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            answer = _within(read, source=source) or ""
        except BaseException as error:  # noqa: BLE001 (told to the parent)
            answer = f"!{type(error).__name__}: {error}"
        os.write(sender, answer.encode()[:4000])
        os._exit(0)
    os.close(sender)
    with open(receiver, "rb") as pipe:
        answer = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0, "the process died"
    assert not answer.startswith("!"), answer
    return answer
