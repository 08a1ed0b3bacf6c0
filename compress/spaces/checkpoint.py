"""Checkpoints: our own (safetensors weights and a JSON card), and foreign state dicts as a network's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..plan import UserError, read_stored, replacing, write_json
from .base import Space
from .card_file import FORMAT, REMEDY, CardFile
from .given import check_given, check_returned, kind_of
from .states import read_state
from .weights import RECIPE, load_exactly

GIVEN = "give, as network, a fresh one of the class and the arguments of the one that was pruned"
"""What to do with weights that do not fit a network that was given alive."""


@dataclass(frozen=True)
class Card:
    """What rebuilds and feeds a network: space name and arguments, class names, preprocessing (see docs/formats.md)."""

    space: str
    arch: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    plan_sha256: str | None = None

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of the network's input."""
        c, h, w = self.preprocessing["input_size"]
        return c, h, w


def save_model(stem: str | Path, model: nn.Module, card: Card) -> None:
    """Write `stem`.safetensors and `stem`.json, each atomically, the card last."""
    from safetensors.torch import save_file

    stem = Path(stem)
    state, seen = {}, set[int]()
    for name, value in model.state_dict().items():
        own = value.detach().cpu().contiguous()
        # The format has no tensor under two names: of shared ones it holds copies.
        state[name] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    with replacing(stem.with_name(f"{stem.name}.safetensors")) as tmp:
        save_file(state, tmp)
    write_json(stem.with_name(f"{stem.name}.json"), {"format": FORMAT, **asdict(card)})


def load_card(path: str | Path) -> Card:
    """The card at `path` (a .json file, its .safetensors, or a run folder, meaning its model.json)."""
    stem = _stem(path)
    given, path = Path(path), stem.with_name(f"{stem.name}.json")
    if stem == given and not path.exists():  # a folder or a stem
        what = f"is no network, nor has it one beside it, {path.name}" if given.exists() else "no such file or folder"
        raise UserError(f"{given}: {what}; give a run's folder, or the .safetensors of a network")
    value = read_stored(path, CardFile, version=FORMAT, remedy=REMEDY)
    classes, plan = tuple(value["classes"]), value.get("plan_sha256")
    return Card(value["space"], value["arch"], classes, value["preprocessing"], plan)


def load_model(path: str | Path, *, network: nn.Module | None = None) -> tuple[nn.Module, Space, Card]:
    """Rebuild the network saved at `path` (run folder, stem, .json or .safetensors), in evaluation mode on the CPU.

    Needs no recipe and unpickles nothing. `network`, unchanged, is a fresh one at full width, for a card whose network
    no list has: the user's own. Raises UserError for missing, corrupt or mismatched files.

    Example::

        model, space, card = load_model("runs/demo")
    """
    card = load_card(path)
    space = _space_of(card, path)
    if network is None:
        return load_network(path, space), space, card
    check_given(network, argument="network")
    check_returned(network, source=f"network = {kind_of(network)}")
    space = _made_by(space, network, path)
    return load_network(path, space, remedy=GIVEN), space, card


def _made_by(space: Space, network: nn.Module, path: str | Path) -> Space:
    """`space` with `network` in place of what its card names; UserError for a family that needs none."""
    from .any_network import TracedSpace

    if not isinstance(space, TracedSpace):
        raise UserError(
            f"network = {type(network).__name__}: {path} is a {space.name}, which is built without; leave it"
        )
    return space.of(network)


def load_space(path: str | Path) -> Space:
    """The space of the network saved at `path`, at its widths; its weights are not read. UserError as `load_model`."""
    return _space_of(load_card(path), path)


def _space_of(card: Card, path: str | Path) -> Space:
    from . import make_space

    stem = _stem(path)
    try:
        return make_space(card.space, card.arch)
    except UserError as error:
        raise error.at(str(stem.with_name(f"{stem.name}.json"))) from None


def load_network(path: str | Path, space: Space, *, remedy: str = RECIPE) -> nn.Module:
    """A network of `space` with the weights saved at `path`, whatever the card there says; otherwise as `load_model`.

    Raises UserError for weights that are missing, corrupt or another architecture's; then `remedy` is what helps.
    """
    model, file = space.empty(), weights_of(path)
    load_exactly(model, read_state(file), source=file, streams=_streams(space), remedy=remedy)
    return model.eval()


def weights_of(path: str | Path) -> Path:
    """The file with the weights of the network saved at `path`, as `load_model` takes it."""
    stem = _stem(path)
    return stem.with_name(f"{stem.name}.safetensors")


def _streams(space: Any) -> dict[str, int]:
    """Buffer of a gather -> number of channels that it chooses from, which the narrowed network does not tell."""
    full: Any = replace(space, widths={}) if hasattr(space, "widths") else space
    return {group.index: group.size for group in full.groups if group.index is not None}


def _stem(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        return path / "model"
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
