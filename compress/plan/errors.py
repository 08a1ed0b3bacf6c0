"""The one exception that means "the user can mend this", and a check that raises it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, Final, Self


class _Absent:
    """Stands for no value, which None is not."""


ABSENT: Final = _Absent()


FAULTS = (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, AttributeError, LookupError)
"""What code that is not ours raises for arguments that it does not take: optimisers, constructors, forward passes."""


class UserError(ValueError):
    """Bad input: the message is one line with the argument, its value, the rule and the remedy.

    The command-line tools print it and exit with code 2. Any other exception is our own bug and keeps its traceback.
    A room names its own parameter; whoever knows the section, the file or the flag that it came from adds that, by
    `under`, `of` and `at`; `spoken` and `called` change names of parameters into those of flags, or of Python's
    arguments.

    Args:
        rule: what is wrong with the value; without an `argument` the whole message.
        argument: the parameter ("resize"), the key of a recipe ("data.resize") or the flag ("--batch") at fault.
        value: what was given for it, shown as Python writes it, after a flag as it is; none: leave it away.
        remedy: what the user can do.

    Example::

        raise UserError("must be at least input_size", argument="resize", value=16, remedy="choose a larger value")
    """

    def __init__(self, rule: str, *, argument: str = "", value: Any = ABSENT, remedy: str = "") -> None:
        self.rule, self.argument, self.value, self.remedy = rule, argument, value, remedy
        self.places: tuple[str, ...] = ()
        self._joint = ": "
        super().__init__(self._text())

    def under(self, section: str) -> Self:
        """The same error of the recipe's `section`: its argument is a key there, unless it says so already.

        A plain message, without an argument, stays as it is: it has named what it is about.
        """
        within = not self.argument or self.argument == section or self.argument.startswith(f"{section}.")
        return self if within or not section else self._changed(argument=f"{section}.{self.argument}")

    def of(self, argument: str) -> Self:
        """The same error, of `argument`, where it names none: a plain message then begins with the argument's value."""
        return self if self.argument else self._changed(argument=argument, _joint=" = ")

    def at(self, place: str) -> Self:
        """The same error, found at `place` (a file, "recipe", "--checkpoint x.pth"), which the message begins with.

        A file that the message began with so far is not named again where `place` names it.
        """
        if self.places[:1] == (place,):
            return self
        file, rule, places = _file_of(place), self.rule, self.places
        if places:
            places = places[1:] if places[0] == file else places
        elif file and not self.argument:
            rule = rule.removeprefix(f"{file}: ")
        return self._changed(places=(place, *places), rule=rule)

    def spoken(self, names: Mapping[str, str]) -> Self:
        """The same error in the words of another surface: {"macs_ratio": "--macs-ratio"}, wherever a name stands."""
        known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        pattern = re.compile(rf"(?<![\w.'\"-])({known})(?!\w)( = )?")

        def said(match: re.Match[str]) -> str:
            name, joint = names[match[1]], match[2] or ""
            return name + (" " if joint and name.startswith("--") else joint)

        parts = {part: pattern.sub(said, getattr(self, part)) for part in ("argument", "rule", "remedy")}
        return self._changed(**parts)

    def called(self, names: Mapping[str, str]) -> Self:
        """The same error, whose argument has the name that it has on another surface, {"threads": "--threads"}.

        Unlike `spoken`, which finds names anywhere, this leaves the sentence alone, and what was found at a place.
        """
        known = not self.places and self.argument in names
        return self._changed(argument=names[self.argument]) if known else self

    def _changed(self, **parts: Any) -> Self:
        other = copy(self)
        vars(other).update(parts)
        other.args = (other._text(),)
        return other

    def _text(self) -> str:
        head = self.argument
        if head and self.value is not ABSENT:
            head += f" {self.value}" if head.startswith("--") else f" = {brief(self.value)}"
        text = f"{head}{self._joint}{self.rule}" if head else self.rule
        return ": ".join((*self.places, text)) + (f"; {self.remedy}" if self.remedy else "")


@contextmanager
def speaking(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors of the user leave the block in the words `names`, as `UserError.spoken` has them.

    Example::

        with speaking({"macs_ratio": "--macs-ratio"}):
            Budget("macs_ratio", 0.5)
    """
    try:
        yield
    except UserError as error:
        raise error.spoken(names) from error.__cause__


def _file_of(place: str) -> str:
    """The file that a flag or a key names: x.pth of "--checkpoint x.pth" and of "key = 'x.pth'"; "" without one."""
    if place.startswith("--"):
        return place.partition(" ")[2]
    return place.partition(" = ")[2].strip("'\"")


def check_number(
    name: str, value: Any, *, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Raise UserError, naming `name`, unless `value` is a finite number within the bounds given.

    Args:
        name: of the argument, for the message.
        value: what was given.
        above: what it must exceed.
        at_least, at_most: its bounds.

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
        raise UserError(f"must be a finite number {rule}", argument=name, value=value, remedy="correct it")


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
