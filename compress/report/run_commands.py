"""Commands that take a run on, with its own paths, quoted for the shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..plan.run_files import recipe_of


@dataclass(frozen=True)
class RunCommands:
    """Commands for the run in the folder `path`, told as the folder was named; `record` is its recipe.json."""

    path: Path
    record: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The run's folder; `.` has no name with which that of another one could begin."""
        return self.path if self.path.name else self.path.resolve()

    def at(self, name: str) -> str:
        """The path of a file in the folder."""
        return str(self.folder / name)

    def beside(self, end: str) -> str:
        """A path beside the folder, which begins with its name."""
        return f"{self.folder}_{end}"

    @property
    def code(self) -> list[str]:
        """The user's own code that makes the network, where there is such."""
        model = str(self.settings("space").get("model") or "")
        return [model] if ".py:" in model else []

    def settings(self, section: str) -> dict[str, Any]:
        """A section of the recipe, {} where the file holds none."""
        found = recipe_of(self.record).get(section)
        return found if isinstance(found, dict) else {}

    def options(self, *overrides: str) -> list[str]:
        """`overrides` of the recipe, and the names of what in it is Python, which only who calls may let run."""
        config = self.settings("space").get("config")
        named = [f"space.config={config}"] if config else []
        named += [f"space.model={code}" for code in self.code]
        return ["--cfg-options", *named, *overrides] if named or overrides else []

    def as_measured(self) -> list[str]:
        """Options by which commands time as the run did, where it did not by one thread and one image a call."""
        found = {name: self.settings("measure").get(name) for name in ("threads", "batch")}
        given = {name: n for name, n in found.items() if isinstance(n, int) and n != 1}
        return [word for name, n in given.items() for word in (f"--{name}", str(n))]

    def of_recipe(self, name: str, *parts: str, overrides: Sequence[str] = ()) -> str:
        """The command `name` of this run's own recipe, overrides and all."""
        recipe = self.at("recipe.json") if self.record else "RECIPE"
        return command(name, recipe, *parts, *self.options(*overrides))

    def evaluate(self, name: str = "") -> str:
        """Judges a file of the run, or its network."""
        return command("evaluate", self.at(name), *self.options())

    def prune(self, budget: Sequence[str], name: str) -> str:
        """Prunes the unpruned network to another budget, without a search, into the folder that `name` ends."""
        steps = self.record.get("steps")
        source, rounds = (self.at("step1"), ["--steps", str(steps)]) if steps else (str(self.folder), [])
        parts = ("--search-from", source, *rounds, *budget, "--work-dir", self.beside(name))
        return self.of_recipe("prune", *parts)

    def go_on(self) -> str:
        """Runs the stages that are left."""
        return self.of_recipe("prune", "--work-dir", str(self.folder), "--resume")

    def finetune(self, *, times: int = 1) -> str:
        """Trains the sliced network, for so many `times` as long as the run did."""
        settings = self.settings("finetune")
        teacher = ["--teacher", self.at("baseline.json")] if settings.get("distill") else []
        epochs = settings.get("epochs")
        longer = [f"finetune.epochs={times * epochs}"] if times > 1 and isinstance(epochs, int) else []
        parts = ("--checkpoint", self.at("sliced.safetensors"), *teacher, "--work-dir", self.beside("finetune"))
        return self.of_recipe("finetune", *parts, overrides=longer)


def command(*parts: str) -> str:
    """A command of this package, quoted for the shell.

    Example::

        command("evaluate", "my run/model.onnx")  # "nncompress evaluate 'my run/model.onnx'"
    """
    return shlex.join(["nncompress", *parts])
