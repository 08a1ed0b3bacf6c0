"""What to do with a run: first what its figures ask for, then how it is deployed, with its own paths."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ..plan.backends import BACKENDS, FIRST
from ..plan.budget_kinds import BUDGETS, BudgetKind
from ..plan.run_files import RecordFile
from ..plan.stored import read_stored
from . import rows, wording
from .markup import section
from .run_commands import RunCommands, command
from .run_contents import RunContents, read_run_folder

LOSS = 1.0
"""Points of accuracy from which a loss is worth more training."""

TIGHTER = 0.8
"""The next budget leaves this share of what this one left."""

LATENCY_RATIO = "0.7"
"""A first latency budget."""

INT8 = "Quantise it to 8 bits, which makes the file smaller:"
ENGINE = "Build a TensorRT engine, on the machine with the GPU that is to run it:"


class Step(NamedTuple):
    """Something to do: a sentence, and the commands that do it."""

    text: str
    commands: tuple[str, ...]


def next_steps(run: RunContents) -> str:
    """The section: what the run's figures ask for, how it is deployed, another budget."""
    first = advice(run)
    others = [step for step in (*deploying(run), _another(run)) if step.commands != first.commands]
    return section("What to do next", "".join(_item(step) for step in (first, *others)))


def next_line(run_dir: str | Path) -> str:
    """The first step of the finished run in `run_dir` in one line, for the terminal; UserError for damaged files.

    Example::

        print(next_line("runs/digits"))
    """
    step = advice(read_run_folder(run_dir))
    return f"{step.text} {step.commands[0]}"


def line_of_begun(run_dir: str | Path, left: Sequence[str]) -> str:
    """How the run in `run_dir` goes on, of whose stages some are `left`, in one line; UserError for a damaged record.

    Example::

        print(line_of_begun("runs/digits", ["finetune", "export", "measure", "report"]))
    """
    path = Path(run_dir)
    record = read_stored(path / "recipe.json", RecordFile, remedy="restore it, or start a new run")
    return f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} left: {RunCommands(path, record).go_on()}"


def _item(step: Step) -> str:
    commands = "".join(f'<pre class="command">{_unbroken(each)}</pre>' for each in step.commands)
    return f"<p>{escape(step.text)}</p>{commands}"


def _unbroken(text: str) -> str:
    """A command whose words stay whole where they fit into a line."""
    return " ".join(f"<span>{escape(shlex.quote(word))}</span>" for word in shlex.split(text))


def advice(run: RunContents) -> Step:
    """What the figures of `run` ask for before anything else."""
    summary, commands = run.summary, _commands(run)
    if rows.differs(run.parity, "model"):
        text = "Do not deploy the ONNX file: it computes something else than the network. See what it is worth:"
        return Step(text, (commands.evaluate("model.onnx"),))
    if summary.get("seconds") and "finetune" not in summary["seconds"]:
        return Step("The network has been cut, and not been trained since. Fine-tune it:", (commands.finetune(),))
    backend = rows.main_backend(summary)
    if backend is not None and not rows.is_faster(summary, backend):
        return _slower(run, backend)
    if (lost := _lost(summary)) >= LOSS:
        what = "box AP" if rows.is_detector(summary) else "accuracy"
        text = f"{lost:.2f} points of {what} are lost. Fine-tune for twice as long:"
        return Step(text, (commands.finetune(times=2),))
    told = f"less than {LOSS:g} point is lost"
    told = f"It is faster, and {told}" if backend is not None else told.capitalize()
    return Step(f"{told}: a smaller budget may do as well, with the scores of this run:", _another(run).commands)


def deploying(run: RunContents) -> list[Step]:
    """From the run's files to the device that is to run the network."""
    commands = _commands(run)
    if not run.summary.get("parity_max_abs_diff"):
        return [Step("Judge the network again:", (commands.evaluate(),))]
    model, detector = commands.at("model.onnx"), rows.is_detector(run.summary)
    script, given = ("detect_onnx.py", "street.jpg") if detector else ("check_onnx.py", "test.npz")
    text = (
        f"Run it with onnxruntime and numpy alone, on {'an image' if detector else 'images'} of your own; the script "
    )
    text += "lies in the sources of compress, to be copied into your program:"
    return [
        Step("Judge the ONNX file by the images that judged the network:", (commands.evaluate("model.onnx"),)),
        Step(text, (shlex.join(["python", f"docs/deploy/{script}", model, given]),)),
        *(_files_of_detector(commands) if detector else _further_files(commands)),
    ]


def _files_of_detector(commands: RunCommands) -> list[Step]:
    """What a detector's files become; each export leaves one for images of the other orientation too."""
    engine = ("export", str(commands.folder), "--to", "tensorrt", "-o", commands.at("model.engine"))
    return [Step(INT8, (_int8(commands),)), Step(ENGINE, (command(*engine),))]


def _int8(commands: RunCommands) -> str:
    folder, file = str(commands.folder), commands.at("model.int8.onnx")
    return command("export", folder, "--to", "ort-int8", "-o", file, *commands.options())


def _further_files(commands: RunCommands) -> list[Step]:
    """What a classifier's files become, and how they are timed."""
    folder, named = str(commands.folder), [f"--network={code}" for code in commands.code]
    engine = ("export", folder, "--to", "tensorrt", "--fp16", "--batch", "1:8:32", "-o", commands.at("model.engine"))
    return [
        Step("Time it against the unpruned network, on the device that is to run it:", (_timed(commands, FIRST),)),
        Step(INT8, (_int8(commands),)),
        Step(ENGINE, (command(*engine, *named),)),
    ]


def _timed(commands: RunCommands, backend: str) -> str:
    """Times both files as the run did, in `backend` where that runs ONNX files."""
    others = [each.name for each in BACKENDS.own() if each.takes == "onnx" and each.name != FIRST]
    own = ["--backend", backend] if backend in others else []
    files = (commands.at("baseline.onnx"), commands.at("model.onnx"))
    return command("benchmark", *files, *own, *commands.as_measured())


def _slower(run: RunContents, backend: str) -> Step:
    """What makes a network faster that is not: a budget of time. Where nobody knows if it is: timing it again."""
    commands, text = _commands(run), f"The network is not faster in {wording.backend(backend)}. "
    if wording.noisy(rows.paired_ratio(run.summary, backend)):
        text = f"Other work on this machine hid which network is faster in {wording.backend(backend)}. "
        return Step(text + "Time both again when nothing else runs:", (_timed(commands, backend),))
    if any(BUDGETS[limit["kind"]].cost == "latency" for limit in _limits(run)):
        return Step(text + "Ask for less time, with the scores of this run:", _another(run).commands)
    table, own = commands.beside("table.json"), [] if backend == FIRST else ["--backend", backend]
    parts = ("--checkpoint", commands.at("baseline.json"), *own, *commands.as_measured(), "-o", table)
    profile = commands.of_recipe("profile", *parts)
    budget = ("--latency-ratio", LATENCY_RATIO, "--latency-table", table)
    text += "Measure what every width costs on this machine, and let the budget be time:"
    return Step(text, (profile, commands.prune(budget, f"latency_ratio_{LATENCY_RATIO}")))


def _another(run: RunContents) -> Step:
    """A smaller budget of the same kind, with the scores of this run."""
    values = [_tighter(limit, run.summary["macs"]) for limit in _limits(run)]
    flags = [text for kind, value in values for text in (kind.flag, value)]
    commands = _commands(run)
    table = commands.record.get("latency_table")
    if table and any(kind.cost == "latency" for kind, _ in values):
        flags += ["--latency-table", table["path"], *(["--force-latency-table"] if table["forced"] else [])]
    (kind, value), *_ = values
    text = "Try a smaller budget, with the scores of this run:"
    return Step(text, (commands.prune(flags, f"{kind.name}_{value}"),))


def _limits(run: RunContents) -> list[dict[str, Any]]:
    budget = run.summary.get("budget") or {"kind": "free", "value": None}
    return [budget, *budget.get("also", ())]


def _tighter(limit: Mapping[str, Any], macs: Mapping[str, float]) -> tuple[BudgetKind, str]:
    """A budget that leaves less than `limit`; after a free ratio one of MACs, less than `macs` say are left."""
    kind, value = BUDGETS[limit["kind"]], limit["value"]
    if kind.cost is None or value is None:
        kind, value = BUDGETS["macs_ratio"], macs["after"] / max(macs["before"], 1)
    return kind, f"{1 - TIGHTER * (1 - value) if kind.removes else TIGHTER * value:.2g}"


def _commands(run: RunContents) -> RunCommands:
    return RunCommands(run.path, run.recipe or {})


def _lost(summary: dict[str, Any]) -> float:
    """Points of accuracy, or of box AP, that pruning has cost."""
    pair = summary.get("top1") or summary.get("bbox_mAP") or {"before": 0.0, "after": 0.0}
    return float(pair["before"] - pair["after"])
