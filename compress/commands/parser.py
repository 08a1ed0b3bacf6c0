"""The parser of every tool: one line for wrong arguments, none given twice, and numbers that are numbers."""

from __future__ import annotations

import math
import sys
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, NoReturn

from .ending import leave

MOST_SHOWN = 80


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are one line, as `run_tool` prints the user's others."""

    def __init__(self, description: str | None = None, **settings: Any) -> None:
        super().__init__(description=description, allow_abbrev=False, **settings)
        for name in (None, "store"):
            self.register("action", name, Once)
        self.register("type", int, whole)
        self.register("type", float, number)
        self.given: set[str] = set()
        self.arguments: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always; what was given counts anew."""
        self.given, self.arguments = set(), sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    @property
    def flags(self) -> dict[str, str]:
        """{name under which a value is kept: its option}."""
        return {action.dest: action.option_strings[-1] for action in self._actions if action.option_strings}

    def error(self, message: str) -> NoReturn:
        """Print the one line and exit with 2, as `run_tool` does."""
        from ..plan.launchers import named_launcher

        leave(
            f"error: {message.removeprefix('argument ')}; --help lists the arguments", 2, named_launcher(self.arguments)
        )


class Once(Action):
    """Store a value; one that is given twice is refused, for the first would be lost, and an empty one."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Store `values`."""
        assert isinstance(parser, Parser)
        if values == "":
            parser.error(f"{option_string or self.metavar}: is empty; give a value, or leave it away")
        if self.dest in parser.given:
            parser.error(f"{option_string} {_shown(values)}: given twice, the first time as "
                         f"{_shown(getattr(namespace, self.dest))}; keep one")  # fmt: skip
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


def whole(text: str) -> int:
    """A whole number in plain digits."""
    digits = text.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise ArgumentTypeError(f"{_shown(text)} is no whole number; write it like 8")
    return int(text)


def number(text: str) -> float:
    """A finite number in plain digits."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{_shown(text)} is no finite number; write it like 0.5")
    return value


def between(least: float, most: float, kind: Callable[[str], Any] = whole) -> Callable[[str], Any]:
    """The type of numbers from `least` to `most`; `kind` is `whole` or `number`."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most:
            raise ArgumentTypeError(f"{value} is out of range; give a number from {least} to {most}")
        return value

    return parse


def shard_argument(parser: ArgumentParser, pieces: str) -> None:
    """--shard of what several jobs may share; `pieces` are what it consists of."""
    help_text = f"do every N-th of the {pieces}, from the I-th on: this is job I of N that share the work"
    parser.add_argument("--shard", type=shard, metavar="I/N", help=help_text)


def shard(text: str) -> Any:
    """Job I of N, 2/8."""
    from ..plan import Shard, UserError

    try:
        return Shard.parse(text)
    except UserError as error:
        raise ArgumentTypeError(str(error)) from None


def recipe_argument(parser: Parser, more: str = "") -> None:
    """RECIPE of the tools that take one; `more` says what they do with it."""
    parser.add_argument("recipe", metavar="RECIPE", help=f"a file, or a name that `nncompress recipes` lists{more}")


def resume_argument(parser: Parser, help_text: str) -> None:
    """--resume of tools that can go on; whatever stops one says so, unless its `args.resumable` is no longer True."""
    parser.add_argument("--resume", action="store_true", help=help_text)
    parser.set_defaults(resumable=True)


def training_arguments(parser: Parser, *, override: str, checkpoint: bool = True) -> None:
    """What tools that train share; `override` is an example of --cfg-options, `checkpoint`: they read one."""
    from ..plan.launchers import LAUNCHERS

    if checkpoint:
        parser.add_argument("--trust-checkpoint", action="store_true", help="unpickle the checkpoint: it may run code")
        weights = parser.add_mutually_exclusive_group()
        weights.add_argument(
            "--use-ema",
            dest="ema",
            action="store_true",
            default=None,
            help="take the checkpoint's averaged weights (EMA): the default where it has both; refused where not",
        )
        weights.add_argument(
            "--no-ema", dest="ema", action="store_false", default=None, help="take its plain weights instead"
        )
    resume_argument(parser, "go on with the run in the work dir")
    parser.add_argument("--launcher", choices=("none", *LAUNCHERS), default="none")
    parser.add_argument(
        "--dist-timeout",
        type=between(1, 10**6, number),
        metavar="SECONDS",
        help="how long processes wait for one that hangs, before all end (default: 1800; on GPUs 600)",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help=f"recipe overrides: {override}"
    )


def table_arguments(group: Any) -> None:
    """What tools that prune to a latency share: `group` of the parser's arguments gets them."""
    group.add_argument("--latency-table", metavar="F", help="the device's table (`nncompress profile`)")
    group.add_argument("--force-latency-table", action="store_true", help="take the table of another device")


def check_table(args: Namespace) -> None:
    """UserError for a table that is forced, and not given."""
    from ..plan import UserError

    if args.force_latency_table and args.latency_table is None:
        raise UserError("--force-latency-table: needs --latency-table; give the table, or drop it")


def engine_argument(parser: Parser) -> None:
    """What tools that open engines share."""
    parser.add_argument("--trust-engine", action="store_true", help="let version-compatible engines run their own code")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def network_argument(parser: Parser) -> None:
    """--network, for networks that the user's own code makes."""
    parser.add_argument(
        "--network", metavar="FILE.py:F", help="your code that makes the network, where compress has it in no list"
    )


def take_network(args: Namespace) -> None:
    """Let the code that --network names run, and no other."""
    if args.network is not None:
        from ..spaces import name_code

        name_code(args.network)


def flag_of(name: str) -> str:
    """The flag whose value argparse keeps under `name`: `max_designs` is --max-designs, and `from_` --from."""
    return f"--{name.rstrip('_').replace('_', '-')}"
