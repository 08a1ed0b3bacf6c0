"""What to do with a finished run: first what its figures ask for, then how it is deployed, with its own paths."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ..plan.backends import FIRST
from ..plan.budget_kinds import BUDGETS, BudgetKind
from ..plan.run_files import recipe_of
from . import rows, wording
from .markup import section
from .run_contents import RunContents, read_run_folder

LOSS = 1.0
"""Points of accuracy from which a loss is worth more training."""

TIGHTER = 0.8
"""The next budget leaves this share of what this one left."""

LATENCY_RATIO = 0.7
"""A first latency budget."""


class Step(NamedTuple):
    """Something to do: a sentence, and the commands that do it."""

    text: str
    commands: tuple[str, ...]


def next_steps(run: RunContents) -> str:
    """The section: what the run's figures ask for, how it is deployed, another budget."""
    first = advice(run)
    others = [step for step in (*deploying(run), _another(run)) if step.commands != first.commands]
    items = "".join(_item(step) for step in others)
    return section("What to do next", f'<div class="first">{_item(first)}</div>{items}')


def next_line(run_dir: str | Path) -> str:
    """The first step of the run in `run_dir` in one line, for the terminal; UserError for a damaged folder.

    Example::

        print(next_line("runs/digits"))
    """
    step = advice(read_run_folder(run_dir))
    return f"Next: {step.text} {step.commands[0]}"


def _item(step: Step) -> str:
    commands = "".join(f'<pre class="command">{_unbroken(command)}</pre>' for command in step.commands)
    return f"<p>{escape(step.text)}</p>{commands}"


def _unbroken(command: str) -> str:
    """A command whose words stay whole where they fit into a line."""
    return " ".join(f"<span>{escape(shlex.quote(word))}</span>" for word in shlex.split(command))


def advice(run: RunContents) -> Step:
    """What the figures of `run` ask for before anything else."""
    summary = run.summary
    if rows.differs(run.parity, "model"):
        text = "Do not deploy the ONNX file: it computes something else than the network. See what it is worth:"
        return Step(text, (_judging(run, "model.onnx"),))
    if summary.get("seconds") and "finetune" not in summary["seconds"]:
        return Step("The network has been cut, and not been trained since. Fine-tune it:", (_finetuning(run),))
    backend = rows.main_backend(summary)
    if backend is not None and not rows.is_faster(summary, backend):
        return _slower(run, backend)
    if (lost := _lost(summary)) >= LOSS:
        what = "box AP" if rows.is_detector(summary) else "accuracy"
        text = f"{lost:.2f} points of {what} are lost. Fine-tune for twice as long:"
        return Step(text, (_finetuning(run, longer=2),))
    (command,) = _another(run).commands
    told = f"less than {LOSS:g} point is lost"
    told = f"It is faster, and {told}" if backend is not None else told.capitalize()
    return Step(f"{told}: a smaller budget may do as well, with the scores of this run:", (command,))


def deploying(run: RunContents) -> list[Step]:
    """From the run's files to the device that is to run the network."""
    if not run.summary.get("parity_max_abs_diff"):
        return [Step("Judge the network again:", (_judging(run),))]
    model, detector = _at(run, "model.onnx"), rows.is_detector(run.summary)
    steps = [Step("Judge the ONNX file by the images that judged the network:", (_judging(run, "model.onnx"),))]
    script, given = ("detect_onnx.py", "street.jpg") if detector else ("check_onnx.py", "test.npz")
    text = f"Run it with onnxruntime and numpy alone, on {'an image' if detector else 'images'} of your own; the script "
    text += "lies in the sources of compress, to be copied into your program:"
    steps.append(Step(text, (shlex.join(["python", f"docs/deploy/{script}", model, given]),)))
    if detector:
        plain = _at(run, "model_plugin_free.onnx")
        built = _command("export", plain, "--to", "tensorrt", "--batch", "1:1:1", "-o", _at(run, "model.engine"))
        return [*steps, Step("Build a TensorRT engine, on the machine with the GPU that is to run it:", (built,))]
    timed = _command("benchmark", _at(run, "baseline.onnx"), model)
    steps.append(Step("Time it against the unpruned network, on the device that is to run it:", (timed,)))
    int8 = ("export", str(_folder(run)), "--to", "ort-int8", "-o", _at(run, "model.int8.onnx"))
    steps.append(Step("Quantise it to 8 bits, which makes the file smaller:", (_command(*int8, *_options(run)),)))
    engine = ("export", str(_folder(run)), "--to", "tensorrt", "--fp16", "--batch", "1:8:32", "-o")
    built = _command(*engine, _at(run, "model.engine"), *(f"--network={code}" for code in _code(run)))
    return [*steps, Step("Build a TensorRT engine, on the machine with the GPU that is to run it:", (built,))]


def _slower(run: RunContents, backend: str) -> Step:
    """What makes a network faster that is not: a budget of time."""
    text = f"The network is not faster in {wording.backend(backend)}. "
    budget = run.summary.get("budget") or {}
    limits = [BUDGETS[limit["kind"]] for limit in (budget, *budget.get("also", ())) if limit.get("kind") in BUDGETS]
    if any(kind.cost == "latency" for kind in limits):
        return Step(text + "Ask for less time, without another search:", _another(run).commands)
    table = f"{_folder(run)}_table.json"
    own = [] if backend == FIRST else ["--backend", backend]
    profile = ("profile", _recipe(run), "--checkpoint", _at(run, "baseline.json"), *own, "-o", table, *_options(run))
    prune = ("--latency-ratio", f"{LATENCY_RATIO:g}", "--latency-table", table)
    return Step(
        text + "Measure what every width costs on this machine, and let the budget be time:",
        (_command(*profile), _pruning(run, prune, f"latency_ratio_{LATENCY_RATIO:g}")),
    )


def _another(run: RunContents) -> Step:
    """A smaller budget of the same kind, with the scores of this run."""
    budget = run.summary.get("budget") or {"kind": "free", "value": None}
    values = [_tighter(limit, run.summary["macs"]) for limit in (budget, *budget.get("also", ()))]
    flags = [text for kind, value in values for text in (kind.flag, value)]
    table = (run.recipe or {}).get("latency_table")
    if table and any(kind.cost == "latency" for kind, _ in values):
        flags += ["--latency-table", table["path"], *(["--force-latency-table"] if table["forced"] else [])]
    name = "_".join((values[0][0].name, values[0][1]))
    return Step("Try a smaller budget, with the scores of this run:", (_pruning(run, flags, name),))


def _tighter(limit: Mapping[str, Any], macs: Mapping[str, float]) -> tuple[BudgetKind, str]:
    """A budget that leaves less than `limit`; after a free ratio one of MACs, less than `macs` say are left."""
    kind, value = BUDGETS[limit["kind"]], limit["value"]
    if kind.cost is None or value is None:
        kind, value = BUDGETS["macs_ratio"], macs["after"] / max(macs["before"], 1)
    return kind, f"{1 - TIGHTER * (1 - value) if kind.removes else TIGHTER * value:.2g}"


def _pruning(run: RunContents, budget: Sequence[str], name: str) -> str:
    """The command that prunes this run's network to another budget, without a search."""
    steps = (run.recipe or {}).get("steps")
    source = _folder(run) / "step1" if steps else _folder(run)
    rounds = ["--steps", str(steps)] if steps else []
    target = ["--work-dir", f"{_folder(run)}_{name}"]
    return _command("prune", _recipe(run), "--search-from", str(source), *rounds, *budget, *target, *_options(run))


def _finetuning(run: RunContents, *, longer: int = 1) -> str:
    """The command that trains the sliced network, for so many times as long as its run did."""
    settings = _settings(run, "finetune")
    teacher = ["--teacher", _at(run, "baseline.json")] if settings.get("distill") else []
    epochs = settings.get("epochs")
    more = [f"finetune.epochs={longer * epochs}"] if longer > 1 and isinstance(epochs, int) else []
    network = ("--checkpoint", _at(run, "sliced.safetensors"), *teacher, "--work-dir", f"{_folder(run)}_finetune")
    return _command("finetune", _recipe(run), *network, *_options(run, *more))


def _judging(run: RunContents, name: str = "") -> str:
    """The command that evaluates a file of the run, or its network."""
    return _command("evaluate", _at(run, name), *_options(run))


def _command(*parts: str) -> str:
    return shlex.join(["nncompress", *parts])


def _folder(run: RunContents) -> Path:
    """The run's folder as it was named; `.` has no name with which that of another folder could begin."""
    return run.path if run.path.name else run.path.resolve()


def _at(run: RunContents, name: str) -> str:
    return str(_folder(run) / name)


def _recipe(run: RunContents) -> str:
    """The run's own recipe, overrides and all."""
    return _at(run, "recipe.json") if run.recipe else "RECIPE"


def _options(run: RunContents, *overrides: str) -> list[str]:
    """`overrides` of the run's recipe, and the names of what in it is Python, which only who calls may let run."""
    space = _settings(run, "space")
    named = [f"space.config={space['config']}"] if space.get("config") else []
    named += [f"space.model={code}" for code in _code(run)]
    return ["--cfg-options", *named, *overrides] if named or overrides else []


def _code(run: RunContents) -> list[str]:
    """The user's own code that makes the network, where there is such."""
    model = str(_settings(run, "space").get("model") or "")
    return [model] if ".py:" in model else []


def _settings(run: RunContents, section: str) -> dict[str, Any]:
    """A section of the run's recipe, {} where the file holds none."""
    found = recipe_of(run.recipe or {}).get(section)
    return found if isinstance(found, dict) else {}


def _lost(summary: dict[str, Any]) -> float:
    """Points of accuracy, or of box AP, that pruning has cost."""
    pair = summary.get("top1") or summary.get("bbox_mAP") or {"before": 0.0, "after": 0.0}
    return float(pair["before"] - pair["after"])
