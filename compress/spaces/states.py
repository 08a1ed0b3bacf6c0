"""State dicts out of files: safetensors, and .pth files read without unpickling code."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..plan.errors import reason, shown
from ..plan.tensors import read_safetensors
from .weights import SLACK_BYTES, SWELL, check_tensors

WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")  # the last: of trainings here, last.pth
DEEPEST = 8
"""Wrappers, and prefixes, that are taken off one after the other."""


def read_state(path: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .pth, .pt or .th file, wrappers and 'module.' prefixes removed.

    Pickles are read with weights_only=True; with `trust` they may run code, so only for files whose author you trust.
    Raises UserError when the file is missing, corrupt, refused, or holds no state dict, and as `check_tensors`.

    Example::

        state = read_state("cifar10_resnet20.th")
    """
    path = Path(path)
    source = f"--checkpoint {path}"
    if not path.is_file():
        raise UserError(f"{source}: no such file; give a .safetensors, a .pth, or a run folder")
    if path.suffix == ".safetensors":
        state = read_safetensors(path, source=source, remedy="copy it again")
    else:
        state = _unwrap(_read_pickle(path, trust=trust), source)
    check_tensors(state, source=source, file_bytes=path.stat().st_size)
    return state


def _read_pickle(path: Path, *, trust: bool) -> Any:
    import pickle
    from zipfile import BadZipFile

    broken = (pickle.UnpicklingError, EOFError, OSError, BadZipFile, RuntimeError, ValueError, LookupError, TypeError)
    try:
        _check_claims(path)
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except UserError:
        raise
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"--checkpoint {path}: needs code that is not here ({reason(error)}); install it, or save its state dict "
            "alone"
        ) from None
    except (*broken, ArithmeticError, AssertionError, MemoryError, SystemError, struct.error, zlib.error) as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"--checkpoint {path}: refused, it holds more than weights ({shown(named[1])}); if you trust its "
                "author, add --trust-checkpoint, which may run code from the file"
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


def _unwrap(value: Any, source: str) -> dict[str, Tensor]:
    for _ in range(DEEPEST):
        found = value if isinstance(value, dict) else {}
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), dict | nn.Module)), None)
        if inner is None:
            break
        value = inner
    if isinstance(value, nn.Module):
        value = value.state_dict()
    items = value.items() if isinstance(value, dict) else ()
    state = {key: each.detach() for key, each in items if isinstance(key, str) and isinstance(each, Tensor)}
    if not state:
        raise UserError(f"{source}: holds no state dict; save one with torch.save(model.state_dict(), path)")
    for _ in range(DEEPEST):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) and name != p for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
