"""The one latency table of a run, whether its search, its budget or both use it: recorded, loaded and checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..costs import LatencyTable, open_table
from ..measure import MeasureConfig, TableConfig, table_key
from ..plan import UserError, sha256
from ..plan.run_files import recipe_of
from ..pruning import Budget, Priced
from ..spaces import Space

T = TypeVar("T")

ARGUMENT, KEY = "--latency-table", "search.latency_table"
"""Where a table is named."""
SEARCH, BUDGET = "search", "budget"
"""Who reads it."""


@dataclass(frozen=True)
class RunTable:
    """The latency table of a run, as recipe.json identifies it.

    Args:
        path: where it lies today.
        sha256: of the file, which may move but not change.
        forced: it is taken although it is another device's.
        readers: SEARCH, BUDGET or both; a table of a search alone prices no plan, and may be another device's.
    """

    path: str
    sha256: str
    forced: bool = False
    readers: tuple[str, ...] = (BUDGET,)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunTable:
        """What `to_json` gave."""
        return cls(record["path"], record["sha256"], record["forced"], tuple(record.get("readers", (BUDGET,))))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `readers` where the search is one."""
        own = {"path": self.path, "sha256": self.sha256, "forced": self.forced}
        return {**own, "readers": list(self.readers)} if self.searched else own

    @property
    def searched(self) -> bool:
        """The search reads it."""
        return SEARCH in self.readers

    @property
    def priced(self) -> bool:
        """Plans are priced by it."""
        return BUDGET in self.readers

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"{ARGUMENT} {self.path}" if self.priced else f"{KEY} = {self.path!r}"

    def load(self, space: Space, input_size: tuple[int, int, int]) -> LatencyTable:
        """The table, of the networks of `space` for images of (C, H, W).

        Raises UserError as `opened`, and for another network's table.
        """
        return self.opened(lambda path: open_table(path, space, input_size))

    def opened(self, open_file: Callable[[str], T]) -> T:
        """What `open_file(path)` makes of the file.

        Raises UserError, naming the table, for a file that is gone or has changed since the run began, and for what
        `open_file` refuses.
        """
        try:
            if not Path(self.path).is_file():
                again = f"where it lies elsewhere today, give it as {ARGUMENT if self.priced else KEY} again"
                raise UserError(f"no such file; make it with `nncompress profile`, or {again}")
            if sha256(self.path) != self.sha256:
                raise UserError("has changed since the run began; restore it, or start a new run")
            return open_file(self.path)
        except UserError as error:
            raise error.at(self.place) from None


def run_table(
    searched: str | None,
    *,
    found: Mapping[str, Any],
    place: str,
    given: str | None = None,
    force: bool = False,
    priced: bool = False,
) -> RunTable | None:
    """The latency table of a run of any kind, None without one.

    Args:
        searched: the file that the recipe's search reads; None: it reads none.
        found: the record of the run in the folder, empty where there is none.
        place: that folder, for messages.
        given: the file of --latency-table; None: that of the run in the folder.
        force: take another device's.
        priced: plans are, by the search's table where no other is given.

    Raises UserError for a file that is not there, for two different ones, and where the search's has changed since the
    run began.
    """
    old = None if found.get("latency_table") is None else RunTable.from_json(found["latency_table"])
    before = recipe_of(found).get("search", {}).get("latency_table")
    if before is not None and (old is None or not old.searched):
        raise UserError(
            f"{place}: begun by a version that did not record which table {KEY} = {before!r} was, so "
            "it could be another one now; give a new folder (--search-from keeps the search)"
        )
    priced = priced or given is not None or (old is not None and old.priced)
    readers = (*((SEARCH,) if searched is not None else ()), *((BUDGET,) if priced else ()))
    if given is None and searched is None:
        return old
    digests = {
        path: digest_of(path, old, place)
        for path, place in ((given, f"{ARGUMENT} {given}"), (searched, f"{KEY} = {searched!r}"))
        if path is not None
    }
    if len({*digests.values()}) > 1:
        raise UserError(
            f"{ARGUMENT} {given}: another table than {KEY} = {searched!r}, and a run has one; give the same for both"
        )
    path = given or str(searched)
    forced = force if given is not None or old is None else old.forced
    return RunTable(path, digests[path], forced, readers)


def digest_of(path: str, old: RunTable | None, place: str) -> str:
    """The hash of the file at `path`; where a run goes on and its file has gone since, the recorded one."""
    same = old if old is not None and old.path == path else None
    if Path(path).is_file():
        digest = sha256(path)
        if same is not None and same.sha256 != digest:
            raise UserError(f"{place}: has changed since the run began; restore it, or start a new run")
        return digest
    if same is not None and same.searched:
        return same.sha256  # the search may be done
    raise UserError(f"{place}: no such file; make one with `nncompress profile`")


def record_table(record: dict[str, Any], table: RunTable | None, found: Mapping[str, Any]) -> None:
    """Put `table` into a run's `record`; one that goes on keeps its own record of the same table, wherever it lies."""
    own, old = None if table is None else table.to_json(), found.get("latency_table")
    if own and old and old["sha256"] == own["sha256"]:
        own["path"] = old["path"]
        if table is not None and table.searched:
            recipe_of(record)["search"]["latency_table"] = recipe_of(found)["search"]["latency_table"]
    record["latency_table"] = own


def price(
    table: RunTable, measure: MeasureConfig, budget: Budget, space: Space, input_size: tuple[int, int, int]
) -> Priced:
    """The table for plans of `space`.

    Raises UserError as `RunTable.load`, and, unless it is forced, for a table of another device, version of its engine,
    number of threads or batch size than this run measures with, and under a latency budget for one of an engine that it
    does not measure with.
    """
    loaded = table.load(space, input_size)
    if table.forced:
        return Priced(loaded)
    backend = str(loaded.key.get("backend"))
    try:
        config = TableConfig(backend=backend, threads=measure.threads, batch=measure.batch)
        loaded.check_key(table_key(space, input_size, config))
        if budget.latency and backend not in measure.backends:
            raise UserError(
                f"is of {backend!r}, whose latency {budget.latency.limits.flag} limits, but measure.backends = "
                f"{list(measure.backends)} does not have it; add it there, or give a table of one that it has"
            )
    except UserError as error:
        raise error.at(table.place) from None
    return Priced(loaded)
