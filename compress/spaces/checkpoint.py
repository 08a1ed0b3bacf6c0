"""Checkpoints: our own (safetensors weights and a JSON card), and foreign state dicts as a network's weights."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..plan import UserError, read_stored, replacing, write_json
from ..plan.errors import shown
from .base import Space
from .card_file import FORMAT, REMEDY, CardFile
from .given import check_given
from .states import read_state
from .stem import with_channels_of
from .timm_layouts import in_timm_layout, interpolated
from .weights import check_types

ADAPT = "adapt it with `nncompress train RECIPE --checkpoint F --work-dir D`, then give --checkpoint D"
"""What to do with a checkpoint of other classes."""
RECIPE = "set the recipe's space section (type, depth or model, classes) to the checkpoint's"
GIVEN = "give, as network, a fresh one of the class and the arguments of the one that was pruned"
"""What to do with weights that do not fit."""


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
        raise UserError(f"{given}: no such file or folder; give a run's folder, or the .safetensors of a network")
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
    _load_exactly(model, read_state(file), source=file, streams=_streams(space), remedy=remedy)
    return model.eval()


def weights_of(path: str | Path) -> Path:
    """The file with the weights of the network saved at `path`, as `load_model` takes it."""
    stem = _stem(path)
    return stem.with_name(f"{stem.name}.safetensors")


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str | Path,
    classifier: Collection[str] = (),
    fresh_classifier: bool = False,
) -> None:
    """Load a foreign `state` into `model`, strictly; UserError naming the keys when they are another architecture's.

    timm's transformers also take the layouts that timm converts, Microsoft's Swin among them. Their position tables may
    be those of another window or image size: they are interpolated, with a warning.

    Where only the number of classes differs, a UserError says so, or, with `fresh_classifier`, a warning. Weights of
    RGB images are adapted to one channel or four, with a warning.

    Args:
        model: takes the weights, in place.
        state: name -> tensor.
        source: the file, for messages.
        classifier: the layers whose rows are the classes (`Space.classifier`).
        fresh_classifier: where only their number of classes differs, they keep the weights of `model`.

    Example::

        network, state = space.build(), read_state("in1k.pth")
        load_state(network, state, source="in1k.pth", classifier=space.classifier, fresh_classifier=True)
    """
    own = model.state_dict()
    converted, stem = with_channels_of(own, in_timm_layout(model, state))
    classes = _other_classes(own, converted, classifier)
    fitting = {**converted, **{name: value for name, value in own.items() if name.rpartition(".")[0] in classes}}
    layers, (there, here) = ", ".join(classes), next(iter(classes.values()), (0, 0))
    if classes and not fresh_classifier:
        _check_fits(own, fitting, source=source)
        raise UserError(f"{source}: its classifier ({layers}) has {there} classes, the data have {here}; {ADAPT}")
    _load_exactly(model, fitting, source=source)
    if classes:
        warnings.warn(
            f"{source}: the classifier ({layers}) has {there} classes there and {here} here, so it keeps its fresh "
            "initialisation; all other weights are the checkpoint's",
            stacklevel=2,
        )
    if stem:
        done = "summed for 1 channel" if own[stem].shape[1] == 1 else f"repeated and scaled for {own[stem].shape[1]}"
        warnings.warn(
            f"{source}: {stem} reads RGB there and was {done}; the network is not exactly the one that was trained",
            stacklevel=2,
        )
    if tables := interpolated(state, converted):
        before, after = (tuple(each[tables[0]].shape) for each in (state, converted))
        warnings.warn(
            f"{source}: {len(tables)} position tables are of another window or image size and were interpolated, such "
            f"as {tables[0]} from {before} to {after}; the network is not exactly the one that was trained; set "
            "space.input_size and space.options to the checkpoint's if that is not meant",
            stacklevel=2,
        )


def _other_classes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifier: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Layer -> classes in `state` and in `own`, of those of `classifier` that differ in this number and in no more."""
    found = {}
    for layer in classifier:
        names = [name for name in own if name.rpartition(".")[0] == layer]
        if all(name in state and state[name].shape[1:] == own[name].shape[1:] for name in names):
            there, here = ({tuple(tensors[name].shape[:1]) for name in names} for tensors in (state, own))
            if there != here and len(there) == 1:
                found[layer] = (there.pop()[0], here.pop()[0])
    return found


def _streams(space: Any) -> dict[str, int]:
    """Buffer of a gather -> number of channels that it chooses from, which the narrowed network does not tell."""
    full: Any = replace(space, widths={}) if hasattr(space, "widths") else space
    return {group.index: group.size for group in full.groups if group.index is not None}


def _load_exactly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str | Path,
    streams: Mapping[str, int] | None = None,
    remedy: str = RECIPE,
) -> None:
    own = model.state_dict()
    _check_fits(own, state, source=source, remedy=remedy)
    check_types(own, state, source=str(source), streams=streams or {})
    model.load_state_dict({name: state.get(name, own[name]) for name in own})


def _check_fits(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, source: str | Path, remedy: str = RECIPE
) -> None:
    """UserError unless `state` has the tensors of `own`, but for counters of batches, and no others."""
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in optional]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    found = [
        f"{len(keys)} {what}: {', '.join(map(shown, keys[:4]))}{', ...' * (len(keys) > 4)}"
        for what, keys in parts
        if keys
    ]
    if found:
        raise UserError(f"{source}: a checkpoint of another architecture; {'; '.join(found)}; {remedy}")


def _stem(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        return path / "model"
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
