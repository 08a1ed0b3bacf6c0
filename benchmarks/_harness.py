"""What every benchmark shares: where results go, and what stands beside the figures."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class Silent:
    """A progress display that shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def check_rivals(name: str, *packages: str) -> None:
    """Stop where one of `packages`, rivals that the result NAME.json has rows of, is not installed.

    A benchmark leaves out the rows of what is missing: its result must not replace one that has them.
    """
    path = results_file(name)
    missing = [package for package in packages if find_spec(package) is None]
    if missing and path.exists():
        raise SystemExit(
            f"{path.name}: has rows of {missing[0]}, which is not installed here; install it, or take --quick, which "
            "writes nothing"
        )


def results_file(name: str) -> Path:
    """Where the result NAME lies."""
    return ROOT / "benchmarks" / "results" / f"{name}.json"


def save_results(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Write benchmarks/results/NAME.json: the rows (and `more`), how and when they were made, and on what."""
    from compress.measure import device_name, versions
    from compress.measure.environment import processor
    from compress.plan import write_json

    # Where this machine keeps its data is nobody's business.
    arguments = [re.sub(r"(^|=)/\S*/", r"\1", text) for text in sys.argv[1:]]
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    dirty = subprocess.run(
        [*git, "status", "--porcelain", "--", "compress"], capture_output=True, text=True, check=True
    )
    path = results_file(name)
    head = {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments]),
        "commit": commit.stdout.strip() + (" with changes" if dirty.stdout.strip() else ""),
        "date": time.strftime("%Y-%m-%d"),
        "device": device_name(),
        "processor": processor(),
        "versions": versions(),
    }
    write_json(path, {**head, "rows": rows, **more})
    return path


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Whether the result `file` is missing; while it is made, other jobs that want it wait."""
    from compress.plan.locking import sole_use

    file.parent.mkdir(parents=True, exist_ok=True)
    with sole_use(file.with_name(f".{file.name}.lock"), what=file.stem, waiting=lambda text: print(text, flush=True)):
        yield not file.exists()


def peak_mib() -> float:
    """Peak resident memory of this process; ru_maxrss would remember the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Show rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
