"""Wrong arguments of the commands: one line, exit code 2, no argument given twice, numbers that are numbers."""

from __future__ import annotations

from typing import Any

import pytest

from compress.commands import COMMANDS, command_parser


def parse(name: str, *arguments: str) -> Any:
    """The arguments as the command's parser has them."""
    return command_parser(name).parse_args(arguments)


def line(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        parse(name, *arguments)
    output = capsys.readouterr()
    assert (end.value.code, output.out) == (2, "")
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


REQUIRED = {
    "benchmark": ("m.onnx",),
    "draw": ("g", "-o", "x.svg"),
    "estimate": ("R",),
    "evaluate": ("run",),
    "export": ("run", "--to", "onnx", "-o", "x"),
    "finetune": ("R",),
    "front": ("R",),
    "profile": ("R", "-o", "x"),
    "prune": ("R",),
    "retrain": ("R", "--genotype", "g"),
    "search-topology": ("R",),
    "toy-model": (),
    "train": ("R",),
}


def test_every_command_is_tried() -> None:
    assert {*REQUIRED, "recipes"} == {*COMMANDS}  # which takes no values


@pytest.mark.parametrize("name", REQUIRED)
def test_arguments_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option that takes a value, by what the command's own parser says of it."""
    given = REQUIRED[name]
    options = [
        action for action in command_parser(name)._actions if action.option_strings and type(action).__name__ == "Once"
    ]
    assert len(options) >= 2
    for action in options:
        flag = action.option_strings[-1]
        usual = {"N": "8", "I/N": "1/2", "SECONDS": "60"}.get(str(action.metavar), "0.05")
        value = str(next(iter(action.choices))) if action.choices else usual
        said = line(capsys, name, *given, flag, value, flag, value)
        assert "given twice" in said
        if action.type in (int, float):
            for wrong in ("nan", "inf", "1e400", "٣", "1_000", "", "0x10", "1e", "9" * 5000, "None", "½"):
                assert flag in line(capsys, name, *given, f"{flag}={wrong}")


def test_what_is_wrong_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (("prune", "R", "--macs-ratio", "0.5", "--macs-ratio", "0.6"), "--macs-ratio 0.6: given twice, the first time"),
        (("profile", "R", "-o", "a", "--output", "b"), "--output 'b': given twice, the first time as 'a'"),
        (("evaluate", "run", "--batch", "0"), "--batch: 0 is out of range; give a number from 1 to 65536"),
        (("toy-model", "--eta", "1e9"), "--eta: 1000000000.0 is out of range"),
        (("benchmark", "m.onnx", "--repeats", "-1"), "--repeats: -1 is out of range"),
        (("prune", "R", "S"), "unrecognized arguments: S"),
        (("prune", "R", "--macs", "0.5"), "unrecognized arguments: --macs 0.5"),
        (("prune",), "required: RECIPE"),
        (("prune", ""), "RECIPE: is empty; give a value"),
        (("prune", "R", "--checkpoint", ""), "--checkpoint: is empty; give a value, or leave it away"),
        (("train", "R", "--work-dir="), "--work-dir: is empty; give a value, or leave it away"),
        (("train", "R", "--launcher", "ssh"), "--launcher: invalid choice: 'ssh'"),
    ):
        assert says in line(capsys, *arguments)


def test_right_arguments() -> None:
    found = parse(
        "prune", "R", "--macs-ratio", "1e-1", "--resume", "--cfg-options", "a=1", "b=2", "--cfg-options", "c=3"
    )
    assert (found.recipe, found.macs_ratio, found.resume, found.cfg_options) == ("R", 0.1, True, ["a=1", "b=2", "c=3"])
    assert parse("prune", "R", "--macs-ratio=-1").macs_ratio == -1
    assert parse("toy-model", "--eta", "0.05", "--steps", " 7 ").steps == 7
    assert parse("benchmark", "a", "b", "--batch", "4").models == ["a", "b"]


@pytest.mark.parametrize("name", REQUIRED)
def test_what_can_go_on_says_so(name: str) -> None:
    found = parse(name, *REQUIRED[name])
    assert hasattr(found, "resume") == getattr(found, "resumable", False)
