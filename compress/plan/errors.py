"""The one exception that means "the user can mend this", and a check that raises it."""

from __future__ import annotations

import math
from typing import Any


class UserError(ValueError):
    """Bad input: the message is one line with the argument, its value, the rule and the remedy.

    The command-line tools print it and exit with code 2. Any other exception is our own bug and keeps its traceback.
    """


def check_number(
    name: str, value: Any, *, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Raise UserError, naming `name`, unless `value` is a finite number within the bounds given.

    Example::

        check_number("search.gamma", gamma, at_least=0)
    """
    bounds = (("above", above), ("at least", at_least), ("at most", at_most))
    rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if fits and (above is None or value > above):
        fits = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    else:
        fits = False
    if not fits:
        raise UserError(f"{name} = {value!r}: must be a finite number {rule}; correct it")


def shown(text: object, *, longest: int = 80) -> str:
    """Text out of a foreign file, fit for one line of a message: no line ends, no escapes, not too long.

    Example::

        shown("conv1\\n.weight")  # "'conv1\\\\n.weight'"
    """
    line = str(text)
    line = line if line.isprintable() and line else repr(line)
    return line if len(line) <= longest else f"{line[:longest]}..."


def reason(error: BaseException) -> str:
    """What `error`, another library's, says, in one line."""
    return shown(" ".join(str(error).split()) or type(error).__name__, longest=400)


def brief(value: Any, *, longest: int = 80) -> str:
    """A value for a message, as Python writes it, cut off after some `longest` characters."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"  # Python refuses to print the longest
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
