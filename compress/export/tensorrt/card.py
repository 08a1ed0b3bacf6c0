"""The JSON beside an engine: what it was built from, by what, and for which GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...plan import UserError, read_json, sha256
from .backend import RTX

FORMAT = 1
KEYS = (
    "backend",
    "version",
    "device",
    "compute_capabilities",
    "inputs",
    "outputs",
    "profile",
    "flags",
    "engine_sha256",
)
DEFAULT_CAPABILITY = (8, 6)
"""TensorRT-RTX engines without a list run on this compute capability and later (its documentation)."""


def card_path(engine: str | Path) -> Path:
    """`model.engine` -> `model.engine.json`."""
    engine = Path(engine)
    return engine.with_name(f"{engine.name}.json")


def load_engine_card(engine: str | Path) -> dict[str, Any]:
    """The card beside `engine`; UserError when one of the two is missing, or when they do not belong together."""
    engine = Path(engine)
    if not engine.is_file():
        raise UserError(f"{engine}: no such engine; tools/export.py builds one")
    path = card_path(engine)
    card = read_json(path)
    if not isinstance(card, dict) or card.get("format") != FORMAT or any(key not in card for key in KEYS):
        raise UserError(f"{path}: not an engine card of format {FORMAT}; build the engine again")
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
    later = card["flags"]["version_compatible"] and _numbers(built) <= _numbers(version)
    if built != version and not later:
        remedy = "" if backend == RTX else ", or once with --version-compatible for later versions"
        raise UserError(
            f"{engine}: built by {backend} {built}, and this is {version}; build it again with this one{remedy}"
        )
    here = f"{device['name']} (compute capability {device['compute_capability']})"
    capability = _numbers(device["compute_capability"])
    if backend == RTX:
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
