"""State dicts out of files: safetensors, and .pth files read without unpickling code."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..plan.errors import reason, shown
from ..plan.tensors import read_safetensors
from .averaged import described, sets_of, without_counters
from .inert import without_logs
from .naming import DEEPEST
from .weights import SLACK_BYTES, SWELL, check_tensors

PREFIXES = ("module.", "_orig_mod.")
"""What PyTorch's own wrappers (DataParallel, torch.compile) put before names."""


@dataclass(frozen=True)
class Weights:
    """A state dict out of a file.

    Args:
        state: name -> tensor.
        averaged: whether it is one of averaged weights (EMA); None: the file does not say.
        said: the line that says which of two sets was taken; "": the file has one.
    """

    state: dict[str, Tensor]
    averaged: bool | None = None
    said: str = ""


def read_state(path: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .pth, .pt or .th file, wrappers and 'module.' prefixes removed.

    Pickles are read with weights_only=True, and MMEngine's logs in them as nothing; with `trust` they may run code, so
    only for files whose author you trust.
    Raises UserError when the file is missing, corrupt, refused, or holds no state dict, and as `check_tensors`.

    Example::

        state = read_state("cifar10_resnet20.th")
    """
    return read_weights(path, trust=trust).state


def read_weights(path: str | Path, *, trust: bool = False, ema: bool | None = None) -> Weights:
    """As `read_state`; of a file with plain weights and averaged ones the averaged, unless `ema` is False.

    Raises UserError also where it is, and the file has averaged ones alone.
    """
    path = Path(path)
    source = f"--checkpoint {path}"
    if not path.is_file():
        raise UserError(f"{source}: no such file; give a .safetensors, a .pth, or a run folder")
    if path.suffix == ".safetensors":
        weights = Weights(read_safetensors(path, source=source, remedy="copy it again"))
    else:
        weights = _unwrapped(_read_pickle(path, trust=trust), source, ema is not False)
    if ema is False and weights.averaged:
        raise UserError(f"--no-ema: {path} holds averaged weights alone; leave it away")
    check_tensors(weights.state, source=source, file_bytes=path.stat().st_size)
    return weights


def _read_pickle(path: Path, *, trust: bool) -> Any:
    import pickle
    from zipfile import BadZipFile

    broken = (pickle.UnpicklingError, EOFError, OSError, BadZipFile, RuntimeError, ValueError, LookupError, TypeError)
    try:
        _check_claims(path)
        with without_logs():
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except UserError:
        raise
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"--checkpoint {path}: needs code that is not here ({reason(error)}); install it, or save its state dict "
            "alone"
        ) from None
    except (*broken, ArithmeticError, AssertionError, MemoryError, SystemError, struct.error, zlib.error) as error:
        if named := re.search(r"GLOBAL (\S+)|(call) reduce for unrecognized", str(error)):
            what = shown(named[1] or named[2])
            raise UserError(
                f"--checkpoint {path}: refused, it holds more than weights ({what}); if you trust its author, add "
                "--trust-checkpoint, which may run code from the file"
            ) from None
        if isinstance(error, pickle.UnpicklingError) and not trust:
            hint = "; copy it again, or if it was not written by torch.save and you trust its author, add "
            raise UserError(f"--checkpoint {path}: corrupt or no checkpoint{hint}--trust-checkpoint") from None
        what = reason(error).partition(". ")[0]
        raise UserError(f"--checkpoint {path}: corrupt file ({what}); copy it again") from None


def _check_claims(path: Path) -> None:
    """UserError where the entries of a zip archive claim far more than it has: torch would allocate all of it."""
    from zipfile import ZipFile, is_zipfile

    if is_zipfile(path):
        with ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > SWELL * (size := path.stat().st_size) + SLACK_BYTES:
            raise UserError(
                f"--checkpoint {path}: its entries claim {claimed} bytes, and the file has {size}; torch.save does not "
                "compress; save it again, or leave it: it may be malicious"
            )


def _unwrapped(value: Any, source: str, ema: bool) -> Weights:
    """The weights in `value`: averaged ones where there are no others, or both and `ema`."""
    averaged, said = None, ""
    for _ in range(DEEPEST):
        found = value if isinstance(value, dict) else {}
        plain_key, averaged_key = sets_of(found)
        key = averaged_key if averaged_key and (ema or not plain_key) else plain_key
        if key is None:
            break
        if averaged_key and not said:
            averaged = key == averaged_key
            said = described(plain_key, averaged_key, ema=ema) if plain_key else ""
        value = found[key]
    if isinstance(value, nn.Module):
        value = value.state_dict()
    items = value.items() if isinstance(value, dict) else ()
    state = {key: each.detach() for key, each in items if isinstance(key, str) and isinstance(each, Tensor)}
    if not state:
        raise UserError(f"{source}: holds no state dict; save one with torch.save(model.state_dict(), path)")
    return Weights(_without_prefixes(without_counters(state)), averaged, said)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(DEEPEST):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) and name != p for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
