"""What torchrun has restarted goes on with the run that it had begun, and with no other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..plan.launchers import restarted


def meeting() -> dict[str, Any]:
    """Where restarted processes meet: torchrun's store, in which the addresses of the lost ones still stand."""
    from torch import distributed

    store, rank, size = next(distributed.rendezvous("env://"))
    store = distributed.PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    return {"store": store, "rank": rank, "world_size": size}


def note_begun(launcher: str, work_dir: str | Path) -> None:
    """Remember, for `begun`, that torchrun's processes work on the run in `work_dir` from now on."""
    if launcher == "pytorch" and (store := _of_torchrun()) is not None:
        store.set(_key(work_dir), "")


def begun(launcher: str, work_dir: str | Path) -> bool:
    """Whether torchrun has started the processes again after they had begun with the run in `work_dir`.

    A run that lay there before is not theirs. Without a store of torchrun's own nobody knows, and it is taken for it.
    """
    if not restarted(launcher):
        return False
    store = _of_torchrun()
    return store is None or store.check([_key(work_dir)])


def _of_torchrun() -> Any:
    """The store that outlives the processes; None where torchrun has been told to keep none, or has started nothing."""
    from torch import distributed

    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return next(distributed.rendezvous("env://"))[0] if kept else None


def _key(work_dir: str | Path) -> str:
    return f"begun: {Path(work_dir)}"
