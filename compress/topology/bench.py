"""True accuracies of all cells of NATS-Bench's topology space: a table, or the benchmark's own files."""

from __future__ import annotations

import csv
import gzip
import lzma
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from ..plan import UserError, brief, needs
from ..plan.errors import reason
from ..plan.genotype import NATS, Genotype

OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
ARCHITECTURES = ("arch", "architecture", "archstr", "architecturestring")
"""What the column of the cells' strings is called, in lower case without signs."""
N_CELLS = len(NATS.operations) ** len(NATS.edges)
WHOLE = f"give a table of all {N_CELLS} cells of NATS-Bench"


@dataclass(frozen=True)
class Bench:
    """Test accuracies in percent, {cell's string: accuracy}, of networks trained on `dataset`.

    Example::

        bench = load_bench("topology_test_accuracy_200ep.csv.xz", "cifar10")
        bench.accuracy(genotype), bench.rank(genotype)
    """

    dataset: str
    accuracies: dict[str, float]
    source: str

    def accuracy(self, genotype: Genotype) -> float:
        """Of the network of `genotype`; UserError when it is not there."""
        found = self.accuracies.get(genotype.text)
        if found is None:
            raise UserError(f"{self.source}: has no cell {genotype.text}; {WHOLE}")
        return found

    def check_whole(self) -> None:
        """UserError unless it has as many cells as there are: a search may come to any."""
        if (n := len(self.accuracies)) < N_CELLS:
            raise UserError(f"{self.source}: has {n} cells; {WHOLE}")

    def rank(self, genotype: Genotype) -> int:
        """1 + how many cells are better."""
        return 1 + len(self._sorted) - bisect_right(self._sorted, self.accuracy(genotype))

    @cached_property
    def _sorted(self) -> list[float]:
        return sorted(self.accuracies.values())


def load_bench(path: str | Path, dataset: str, *, trust: bool = False) -> Bench:
    """The accuracies on `dataset` of the table `path`, or of NATS-Bench's own files.

    A table is a CSV, packed by xz or gzip or plain, whose first row names the columns: `arch` or `ArchitectureString`,
    the cells' strings, and one for each data set, whose name begins with that of the data set. A folder is one of
    NATS-Bench's (`NATS-tss-v1_0-...-simple`), read by the package `nats_bench`, which unpickles its files, so that they
    can run code: only with `trust`.

    Raises UserError for a file that is missing, broken, or has no such columns.
    """
    path = Path(path)
    if path.is_dir():
        if not trust:
            raise UserError(
                f"{path}: NATS-Bench's own files are pickles, which can run code; give a CSV, or --trust-benchmark if "
                "you trust them"
            )
        return _official(path, dataset)
    if not path.is_file():
        raise UserError(f"{path}: no such table; give a CSV of cells and accuracies, or NATS-Bench's folder")
    found: dict[str, float] = {}
    with _opened(path) as file:
        rows = csv.DictReader(file)
        cells, accuracies = _columns(rows.fieldnames or [], dataset, path)
        for line, row in enumerate(rows, start=2):
            found[str(row[cells])] = _percent(row[accuracies], f"{path}: line {line}: {accuracies}")
    if not found:
        raise UserError(f"{path}: holds no cells; give a table of NATS-Bench's")
    return Bench(dataset, found, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({reason(error)}); give a table of NATS-Bench's") from None


def _columns(names: Sequence[str], dataset: str, path: Path) -> tuple[str, str]:
    """The columns of the cells' strings and of the accuracies on `dataset`."""
    cells = [name for name in names if re.sub(r"[^a-z]", "", name.lower()) in ARCHITECTURES]
    key = re.sub(r"[^a-z0-9]", "", dataset.lower())
    # Whatever follows the data set's name, but no further digit: cifar10 is not cifar100.
    found = [name for name in names if re.match(rf"{key}(?!\d)", re.sub(r"[^a-z0-9]", "", name.lower()))]
    if not key or len(cells) != 1 or len(found) != 1:
        shown = ", ".join(name[:40] for name in names[:6]) or "none"
        raise UserError(
            f"{path}: has the columns {shown}; a table needs one called arch or ArchitectureString and one that begins "
            f"with {dataset}; correct its first line, or the name of the data set"
        )
    return cells[0], found[0]


def _percent(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 100:
        raise UserError(f"{where} = {brief(value)}: must be an accuracy in percent; correct the table")
    return number


def _official(path: Path, dataset: str) -> Bench:
    needs("nats_bench", package="nats_bench", extra="nats", what="NATS-Bench's own files")
    from nats_bench import create

    api = create(str(path), "tss", fast_mode=True, verbose=False)
    found = {
        text: float(api.get_more_info(i, dataset, hp="200", is_random=False)["test-accuracy"])
        for i, text in enumerate(api)
    }
    return Bench(dataset, found, str(path))
