"""What every tool shares: the user's errors are one line and exit code 2, ours keep their traceback.

A tool that is stopped by a signal, or whose reader has gone (`| head -1`), ends as quietly as well-behaved ones do.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from .streams import open_streams

GRACE_SECONDS = 30
AGAIN_SECONDS = 0.01
SIGNALS = ("SIGTERM", "SIGHUP")
"""What ends a tool as Ctrl-C does: what it has begun is tidied up."""


class Stopped(KeyboardInterrupt):
    """The process was told to end by the signal `number`."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_tool(main: Callable[[Namespace], None], parse: Callable[[], Namespace]) -> None:
    """Run `main` with the arguments that `parse` returns, and end as every tool does.

    Exit code 2 follows what the user can mend: a UserError, or what the operating system refuses. 128 and a signal's
    number follow the signal: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, and 141 where nobody reads the output any more. The
    first process tells each in one line, the last says nothing. What other processes have to say of the user's errors
    is heard where the first has not ended by then; their warnings are the first one's.
    """
    open_streams()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    args = Namespace()
    with _stoppable():
        try:
            args = parse()
            with warnings.catch_warnings():
                if _number(_launcher(args)) > 0:
                    warnings.simplefilter("ignore")
                main(args)
            _flush()
            return
        except (KeyboardInterrupt, SystemExit, Exception) as error:
            code, message = _ending(error, resumes=getattr(args, "resumable", False))
            if code is None:
                raise
    leave(message, code, _launcher(args))


def _ending(error: BaseException, *, resumes: bool) -> tuple[int | None, str]:
    """Exit code and message after `error`; the code is None for what is no user's error, and message "" for silence."""
    if (stopped := _behind(error, KeyboardInterrupt)) is not None:
        number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
        by = f" by {signal.Signals(number).name}" if isinstance(stopped, Stopped) else ""
        return 128 + number, f"stopped{by}" + ("; go on with --resume" if resumes else "")
    if _behind(error, BrokenPipeError) is not None and (isinstance(error, SystemExit) or _unread()):  # rich's way
        return 128 + signal.SIGPIPE, ""
    if isinstance(error, SystemExit):
        try:
            _flush()
        except OSError as failed:
            return _ending(failed, resumes=resumes)
        return None, ""
    from ..plan import SystemRefusal, UserError, refusal

    told = error if isinstance(error, UserError) else refusal(error)
    if told is None:
        return None, ""
    more = ", then go on with --resume" if resumes and isinstance(told, SystemRefusal) and told.passing else ""
    return 2, f"error: {told}{more}"


def _behind(error: BaseException | None, kind: type[BaseException]) -> Any:
    """The exception of `kind` behind `error`: what it interrupts may fail on its own while it unwinds."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGNALS raise Stopped in the block; forked workers, and signals that are ignored, keep their ways.

    What they raise is lost where the interpreter tidies up, in destructors and callbacks of weak references: there
    they are sent again.
    """
    owner, former, unraisable = os.getpid(), {}, sys.unraisablehook

    def again(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt) or os.getpid() != owner:
            unraisable(lost)
            return
        number = lost.exc_value.number if isinstance(lost.exc_value, Stopped) else signal.SIGINT
        later = threading.Timer(AGAIN_SECONDS, os.kill, (owner, number))
        later.daemon = True
        later.start()

    def stop(number: int, frame: object) -> None:
        if os.getpid() == owner:
            raise Stopped(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_DFL:
                former[number] = signal.signal(number, stop)
        sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        for number, handler in former.items():
            signal.signal(number, handler)


def _flush() -> None:
    sys.stdout.flush()


def _unread() -> bool:
    """Whether the reader of standard output or standard error has gone."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _launcher(args: Namespace) -> str:
    return getattr(args, "launcher", "none")


def _number(launcher: str) -> int:
    """Which of its launcher's processes this is, from 0; torchrun's are known without `launcher` too."""
    from ..plan.launchers import own_launcher, process_number

    return process_number(own_launcher() if launcher == "none" else launcher)


def leave(message: str, code: int, launcher: str) -> NoReturn:
    """End with `code`, and with `message` in one line unless it is "", which of several processes the first one tells.

    A launcher ends all processes when one does: the first must have spoken by then. Where it has no part in the error,
    or hangs, the next one speaks.
    """
    number = _number(launcher)
    if message and number > 0 and code in (2, 128 + signal.SIGINT):
        try:
            with _stoppable():
                time.sleep(GRACE_SECONDS + number)
        except KeyboardInterrupt:
            message = ""  # the launcher's, because the first has ended
    if message and (number == 0 or code == 2):
        with suppress(OSError):  # there is nobody to tell
            print(" ".join(message.split()), file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The interpreter flushes again at its end, and would complain.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
