"""What a comparison's methods have searched for, kept as data on disk: a job that was stopped does not search again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _harness import alone
from _protocol import digest


@dataclass
class Searched:
    """Tensors and plain values in `folder`, one file a key; each is computed once, whatever jobs ask for it."""

    folder: Path
    held: dict[str, Any] = field(default_factory=dict)

    def file(self, key: str) -> Path:
        """Where what is found under `key` lies."""
        return self.folder / f"{json.loads(key)[0]} {digest(key)[:16]}.pt"

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, or gave under this `key` in another job."""
        import torch

        from compress.plan import replacing

        if key not in self.held:
            with alone(self.file(key)) as missing:
                if missing:
                    with replacing(self.file(key)) as staged:
                        torch.save(compute(), staged)
            self.held[key] = torch.load(self.file(key), weights_only=True)
        return self.held[key]


def key_of(what: str, name: str, trial: dict[str, Any], **more: Any) -> str:
    """Of what `name` finds with the settings `trial`, whose selection and fine-tuning do not change it."""
    return json.dumps([what, name, {k: v for k, v in trial.items() if k in ("search", "reg", "method")}, more])
