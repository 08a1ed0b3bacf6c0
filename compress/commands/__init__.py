"""The commands: `nncompress NAME`, `python -m compress NAME`, and the file in tools/ of each are the same function.

A command is a module with `add_arguments(parser)` and `main(args)`. It parses, calls the library, and prints.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ending import run_tool

if TYPE_CHECKING:
    from .parser import Parser

PROGRAM = "nncompress"
COMMANDS = {
    "train": "train",
    "retrain": "retrain",
    "prune": "prune",
    "front": "front",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "export": "export",
    "estimate": "estimate",
    "benchmark": "benchmark",
    "profile": "profile",
    "search-topology": "search_topology",
    "draw": "draw",
    "recipes": "recipes",
    "toy-model": "toy_model",
}
"""Name -> module."""


def main() -> None:
    """What `nncompress` does: run the command that the first argument names."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        run_command(sys.argv[1], sys.argv[2:], program=f"{PROGRAM} {sys.argv[1]}")
    else:
        run_tool(lambda args: None, lambda: _overview().parse_args())


def run_command(name: str, arguments: Sequence[str] | None = None, *, program: str | None = None) -> None:
    """Run the command `name` and end as every tool does.

    `arguments` are those of the process, and `program` the name of its file, unless given. What a user can mend of an
    option's value is told by the option's name.
    """

    def main(args: Namespace) -> None:
        from ..plan import UserError

        try:
            _module(name).main(args)
        except UserError as error:
            raise error.called(command_parser(name).flags) from error.__cause__

    run_tool(main, lambda: command_parser(name, program=program).parse_args(arguments))


def command_parser(name: str, *, program: str | None = None) -> Parser:
    """The parser of the command `name`, which is told of as `program`."""
    from .parser import Parser

    module = _module(name)
    parser = Parser(module.__doc__, prog=program)
    module.add_arguments(parser)
    return parser


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{COMMANDS[name]}")


def _overview() -> Parser:
    """The parser of what comes before a command."""
    from .. import __version__
    from .parser import Parser

    parser = Parser("Trained vision networks in, smaller and faster ones out.", prog=PROGRAM)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        commands.add_parser(name, help=_module(name).__doc__)
    return parser
