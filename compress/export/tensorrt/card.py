"""The JSON beside an engine: what it was built from, by what, and for which GPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len, MaxLen, MinLen
from typing_extensions import TypedDict

from ...plan import Rule, UserError, read_stored, sha256
from ...plan.kinds import EXTRA, Name
from .backend import FLAVOURS

FORMAT = 1
DEFAULT_CAPABILITY = (8, 6)
"""TensorRT-RTX engines without a list run on this compute capability and later (its documentation)."""


def _version_fault(version: str) -> str | None:
    plain = re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,39}", version, re.ASCII)
    return None if plain else "must be a version, such as 10.13.0"


def _backend_fault(backend: str) -> str | None:
    return None if backend in FLAVOURS else f"must be one of {', '.join(FLAVOURS)}"


Version = Annotated[str, Rule(_version_fault)]
Batch = Annotated[int, Ge(1), Le(10**6)]


class Tensor(TypedDict):
    """An input or output; -1 in its shape is free."""

    name: Name
    dtype: Literal["float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]
    shape: Annotated[list[Annotated[int, Ge(-1), Le(1 << 31)]], MaxLen(8)]


class Sizes(TypedDict):
    """The shapes of an input that the engine was built for; the batch is the first size."""

    min: Annotated[list[Batch], MinLen(1), MaxLen(8)]
    opt: Annotated[list[Batch], MinLen(1), MaxLen(8)]
    max: Annotated[list[Batch], MinLen(1), MaxLen(8)]


class Device(TypedDict):
    """The GPU of the build."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    name: Name
    compute_capability: Version


class Flags(TypedDict):
    """How it was built."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    version_compatible: bool
    hardware_compatible: bool


def _card_fault(card: _Card) -> str | None:
    for entry in card["inputs"]:
        if entry["name"] not in card["profile"]:
            return f"profile has no shapes of the input {entry['name']!r}"
    if not FLAVOURS[card["backend"]].portable and card["device"] is None:
        return "device = null: must be the GPU of the build"
    return None


class _Card(TypedDict):
    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    backend: Annotated[str, Rule(_backend_fault)]
    version: Version
    device: Device | None
    compute_capabilities: list[Version]
    inputs: Annotated[list[Tensor], MinLen(1)]
    outputs: Annotated[list[Tensor], MinLen(1)]
    profile: dict[Name, Sizes]
    flags: Flags
    engine_sha256: Annotated[str, Len(64, 64)]
    metadata: NotRequired[dict[Name, str]]


EngineCard = Annotated[_Card, Rule(_card_fault)]


def card_path(engine: str | Path) -> Path:
    """`model.engine` -> `model.engine.json`."""
    engine = Path(engine)
    return engine.with_name(f"{engine.name}.json")


def load_engine_card(engine: str | Path) -> dict[str, Any]:
    """The card beside `engine`; UserError when one of the two is missing, or when they do not belong together."""
    engine = Path(engine)
    if not engine.is_file():
        raise UserError(f"{engine}: no such engine; `nncompress export` builds one")
    path = card_path(engine)
    card = read_stored(path, EngineCard, version=FORMAT, remedy="build the engine again")
    if card["engine_sha256"] != sha256(engine):
        raise UserError(f"{engine}: another engine than the one {path.name} describes; build it again")
    return card


def check_trusted(engine: str | Path, card: dict[str, Any], *, trust: bool) -> None:
    """UserError for an engine that carries code, as its card says, unless the user trusts it."""
    if card["flags"].get("version_compatible") and not trust:
        raise UserError(
            f"{engine}: a version-compatible engine carries code that runs on this machine; if you built it or trust "
            "its author, add --trust-engine (Engine: trust=True)"
        )


def check_fits(engine: str | Path, card: dict[str, Any], version: str, device: dict[str, Any]) -> None:
    """UserError, naming both sides, unless TensorRT of this `version` can run the engine of `card` on `device`."""
    built, backend = card["version"], card["backend"]
    flavour = FLAVOURS[backend]
    later = card["flags"]["version_compatible"] and _numbers(built) <= _numbers(version)
    if built != version and not later:
        remedy = (
            "" if "version_compatible" in flavour.lacks else ", or once with --version-compatible for later versions"
        )
        raise UserError(
            f"{engine}: built by {backend} {built}, and this is {version}; build it again with this one{remedy}"
        )
    here = f"{device['name']} (compute capability {device['compute_capability']})"
    capability = _numbers(device["compute_capability"])
    if flavour.portable:
        listed = card["compute_capabilities"]
        fits = device["compute_capability"] in listed if listed else capability >= DEFAULT_CAPABILITY
        there = ", ".join(listed) or "8.6 and later"
        if not fits:
            raise UserError(
                f"{engine}: built for compute capability {there}, and this is {here}; "
                f"build it with --compute-capability {device['compute_capability']}"
            )
        return
    kept = card["device"]
    same = all(kept[key] == device[key] for key in ("name", "compute_capability"))
    if not same and not (card["flags"]["hardware_compatible"] and capability >= _numbers(kept["compute_capability"])):
        raise UserError(
            f"{engine}: built for {kept['name']} (compute capability {kept['compute_capability']}), and this is "
            f"{here}; build it again on this GPU, or once with --hardware-compatible for Ampere and later"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
