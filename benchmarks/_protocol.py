"""The protocol of a comparison, and what it is held to: as many trials for every method, test images last.

A protocol is a JSON file. Its keys: `methods` {name: {..., "trials": [settings]}}, the grid; `tuning`, how trials are
judged on images set aside from the training images; `budgets`, `seeds`, `stopping` and `primary`, what is read off in
the end; `data`, `search`, `select`, `finetune` and, where the comparison trains its own network, `space`, `baseline`.
`scorers`, `equal_steps` and `unpruned` say what those get that train less, `figures` what networks are judged by, of
which the first chooses trials (`top1` unless given). Before test images are read, the file has to be committed as it
stands, and every trial of every method finished under the same settings. Every trial and cell has the hash of what it
was made from.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _harness import ROOT, alone

REQUIRED = ("methods", "tuning", "budgets", "seeds", "stopping", "primary", "data", "search", "select", "finetune")
READ_LATER = {"purpose", "fixed", "caveat", "estimate", "baselines", "budgets", "seeds", "stopping", "primary"}
"""Keys that no trial depends on, nor on a key with a space in it, which is prose."""
LAID_OUT = {"memory_format"}
"""Of older protocols: how tensors lie in memory, which the engine chooses now. It changes seconds alone."""


@dataclass(frozen=True)
class Protocol:
    """A protocol's file and what stands in it; `load` refuses one that is not fair."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Protocol:
        """UserError for keys that are missing, and unless all methods have equally many trials."""
        from compress.plan import UserError, read_json

        values = read_json(path)
        if missing := [key for key in REQUIRED if key not in values]:
            raise UserError(f"{path.name}: has no {missing[0]!r}; a protocol has {', '.join(REQUIRED)}")
        counts = {name: len(method["trials"]) for name, method in values["methods"].items()}
        fewest, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
        if counts[fewest] != counts[most] or not counts[fewest]:
            raise UserError(
                f"{path.name}: {fewest!r} has {counts[fewest]} trials and {most!r} {counts[most]}; "
                "give every method equally many"
            )
        return cls(path, values)

    @cached_property
    def settings_hash(self) -> str:
        """Of what trials depend on: grid, data, schedules, how they are judged."""
        return settings_hash(self.values)

    @cached_property
    def hash(self) -> str:
        """Of all of it."""
        return digest(self.values)

    def check_committed(self) -> None:
        """UserError unless git has the file as it stands."""
        from compress.plan import UserError

        folder = self.path.resolve().parent
        if git(folder, "ls-files", "--error-unmatch", self.path.name) is None:
            raise UserError(f"{self.path.name}: is not committed; test images are read by committed protocols alone")
        if git(folder, "status", "--porcelain", "--", self.path.name):
            raise UserError(
                f"{self.path.name}: has changes that git does not have; commit it before test images are read"
            )

    def trials(self, names: Sequence[str]) -> Iterator[tuple[str, int, dict[str, Any], str]]:
        """(method, number, settings, budget) of every trial of the methods `names`."""
        tuning = self.values["tuning"]
        for name in names:
            for budget in [tuning["budget"]] if "budget" in tuning else self.values["budgets"]:
                for number, trial in enumerate(self.values["methods"][name]["trials"]):
                    yield name, number, trial, budget

    def trial_file(self, folder: Path, name: str, number: int, budget: str) -> Path:
        """Where a trial's figures lie; they are those of every budget where trials have one of their own."""
        own = "" if "budget" in self.values["tuning"] else f"{budget} "
        return folder / f"trial {own}{name} {number}.json"

    def check_trials(self, folder: Path) -> None:
        """UserError unless every trial of every method is there, made under the settings that the file has now."""
        from compress.plan import UserError, read_json

        for name, number, _, budget in self.trials(list(self.values["methods"])):
            file = self.trial_file(folder, name, number, budget)
            if not file.exists():
                raise UserError(
                    f"{file.name}: is missing, so {name!r} has fewer trials than others; run --tune before --run"
                )
            if (read_json(file).get("settings_sha256") or self._settings_at(file)) != self.settings_hash:
                raise UserError(
                    f"{file.name}: was made under other settings than {self.path.name} has now; take the change "
                    "back, or give the comparison a new name and make all trials anew"
                )

    def _settings_at(self, file: Path) -> str | None:
        """Of a file without a hash of its own: that of the protocol as it was when git was given the file."""
        folder = self.path.resolve().parent
        added = git(folder, "log", "--diff-filter=A", "--format=%H", "-1", "--", str(file.resolve()))
        then = added and git(folder, "show", f"{added.strip()}:./{self.path.name}")
        return settings_hash(json.loads(then)) if then else None

    def check_test_images(self, folder: Path) -> None:
        """UserError unless test images may be read."""
        self.check_committed()
        self.check_trials(folder)

    def chosen(self, folder: Path, name: str, budget: str) -> tuple[int, dict[str, Any]]:
        """Number and settings of the trial with the best figure on the images set aside; the first of equal ones.

        Where `tuning` says what share of channels is to be `pruned`, from and to, of the trials that do. UserError
        where none does.
        """
        from compress.plan import UserError, read_json

        trials = self.values["methods"][name]["trials"]
        found = [read_json(self.trial_file(folder, name, number, budget)) for number in range(len(trials))]
        low, high = self.values["tuning"].get("pruned", (0, 1))
        inside = [number for number, row in enumerate(found) if low <= row.get("pruned", low) <= high]
        if not inside:
            shares = ", ".join(str(row["pruned"]) for row in found)
            raise UserError(f"{name}: no trial prunes a share of {low} to {high}, but {shares}; give it others")
        best = max(inside, key=lambda number: found[number][figures_of(self.values)[0]])
        return best, trials[best]

    def check_cells(self, cells: Sequence[tuple[Path, dict[str, Any]]]) -> None:
        """UserError where a cell was made under another state of the file; one without a hash, under other settings."""
        from compress.plan import UserError

        for file, cell in cells:
            own = cell.get("protocol_sha256")
            if own != self.hash if own else self._settings_at(file) != self.settings_hash:
                raise UserError(
                    f"{file.name}: was made under another state of {self.path.name}, which no figure may choose; take "
                    "the change back, or make the cells anew under a new name"
                )


def figures_of(values: dict[str, Any]) -> list[str]:
    """What a protocol's networks are judged by, first of all that which chooses trials."""
    return list(values.get("figures", ["top1"]))


def settings_hash(values: dict[str, Any]) -> str:
    """Of the keys of a protocol that trials depend on; notes within `tuning` are prose."""
    kept = {key: value for key, value in values.items() if key not in READ_LATER | LAID_OUT and " " not in key}
    kept["tuning"] = {key: value for key, value in values["tuning"].items() if key != "note"}
    return digest(kept)


def digest(values: Any) -> str:
    """Of plain values, whatever their order and layout in a file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def git(folder: Path, *arguments: str) -> str | None:
    """What git says in `folder`; None where it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def kept(path: Path, compute: Callable[[], dict[str, Any]], **made_from: str) -> None:
    """Compute what `path` holds, unless it is there or another job makes it; `made_from` are hashes."""
    from compress.plan import write_json

    if path.exists():
        return
    with alone(path) as missing:
        if missing:
            started = time.process_time()
            row = compute()
            write_json(path, {**row, "seconds": round(time.process_time() - started), **made_from})
            print(path.stem, json.dumps(row), flush=True)


def folder_of(path: Path, *, quick: bool) -> Path:
    """Where the trials and cells of the protocol at `path` lie."""
    return (ROOT / "runs" if quick else ROOT / "benchmarks" / "results") / path.stem
