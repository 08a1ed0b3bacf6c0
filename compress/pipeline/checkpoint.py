"""The weights that a run is given: which file they are, as recipe.json records it, and the network that they make."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.optimisers import Adapted
from ..engine.settings import pretrained_factor
from ..engine.tasks import CrossEntropy
from ..plan import UserError, sha256
from ..spaces import (
    SPACES,
    Space,
    TracedSpace,
    load_card,
    load_network,
    load_state,
    make_space,
    read_state,
    read_weights,
    weights_of,
)
from ..spaces.hub_folder import HubFolder, check_architecture, hub_folder
from ..spaces.naming import looks_like, shortened
from ..spaces.weights import RECIPE
from .checks import check_card
from .folder import RunFolder

if TYPE_CHECKING:
    from .networks import NetworkContext

EMA = {True: "--use-ema", False: "--no-ema"}
"""The flags that say which of two sets of weights is taken."""


def checkpoint_record(
    given: str | None,
    found: Mapping[str, Any],
    *,
    loaded: bool,
    argument: str = "--checkpoint",
    ema: bool | None = None,
) -> dict[str, Any]:
    """Path and hash of the checkpoint, and which of its weights are asked for, as recipe.json records them.

    Args:
        given: what the user names now; None: what the run in the folder was given.
        found: the record of the run in the folder, empty where there is none.
        loaded: the run has no more need of the file.
        argument: where `given` comes from, for messages.
        ema: averaged weights are asked for, or plain ones; None: what the run in the folder asked for, if it did.
    """
    asked = {} if ema is None else {"ema": ema}
    if given is None:
        if "checkpoint" not in found:
            raise UserError(f"{argument}: missing; give the trained network (.pth, .safetensors or a run folder)")
        if loaded:
            return {**found["checkpoint"], **asked}
    path = Path(given or found["checkpoint"]["path"])
    digest = sha256(_file_of(path, argument))
    if "checkpoint" in found and found["checkpoint"]["sha256"] == digest:
        return {**found["checkpoint"], **asked}  # the same weights, whatever the path is called today
    return {"path": str(path), "sha256": digest, **asked}


def _file_of(path: Path, argument: str) -> Path:
    """The file of weights that `path` means; UserError where there is none."""
    if (hub := _hub(path, argument)) is not None:
        return hub.weights
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix in ("", ".json"):
        file = file.with_suffix(".safetensors")
    if file.is_file() and not (path.is_dir() and not file.with_suffix(".json").is_file()):
        return file
    what = "no such file" if path.suffix else "no such file or folder"
    if path.is_file():
        what = f"is no checkpoint, nor has it one beside it, {file.name}"
    elif path.is_dir():
        what = (
            "neither a finished run, with model.safetensors and model.json, nor timm's for the Hugging Face Hub, with "
            "config.json and model.safetensors"
        )
    remedy = "give a .pth, a .safetensors or a finished run folder, or train one with `nncompress train`"
    raise UserError(what, argument=argument, value=path, remedy=remedy)


def _hub(path: Path, argument: str) -> HubFolder | None:
    try:
        return hub_folder(path)
    except UserError as error:
        raise error.at(f"{argument} {path}") from None


def teacher_beside(checkpoint: str) -> str:
    """The unpruned network of the run whose folder holds `checkpoint`; UserError where there is none, or no such
    checkpoint."""
    path = Path(checkpoint)
    _file_of(path, "--checkpoint")
    folder = path if path.is_dir() else path.parent
    baseline = folder / "baseline"
    if path.with_suffix("") == baseline or not all(
        baseline.with_suffix(f".{e}").is_file() for e in ("json", "safetensors")
    ):
        raise UserError(
            f"--teacher: missing, finetune.distill needs one, and {folder} has no unpruned network of a run (baseline."
            "safetensors) to learn from; give the unpruned network, or set finetune.distill=None"
        )
    return str(baseline)


def load_checkpoint(c: NetworkContext) -> tuple[nn.Module, Space]:
    """The network of --checkpoint and its space: the recipe's, at the widths of a card of ours."""
    path = Path(c.checkpoint or "")
    place = f"--checkpoint {path}"
    torch.manual_seed(c.recipe.seed)  # for what the checkpoint does not fill
    hub = _hub(path, "--checkpoint")
    own = path.suffix in ("", ".json", ".safetensors") and path.with_suffix(".json").is_file()
    if hub is None and (path.is_dir() or own):
        if c.ema:
            raise UserError(f"--use-ema: {path} is a network of ours, which has one set of weights; leave it away")
        return _load_own(c, path)
    if hub is not None:
        _check_hub(c, hub, place)
    weights = read_weights(path if hub is None else hub.weights, trust=c.trust, ema=c.ema)
    network = c.filled(c.full_space, weights.state)
    c.averaged = weights.averaged if c.loaded.averaged is None else c.loaded.averaged
    if c.ema and not c.averaged:
        raise UserError(f"--use-ema: {path} holds no averaged weights beside plain ones; leave it away")
    for line in (weights.said, c.loaded.said):
        if line:
            c.progress.note(f"{place}: {line}")
    return network, c.full_space


def fill(c: NetworkContext, space: Space, state: Mapping[str, Tensor]) -> nn.Module:
    """A network of `space` with the weights `state` of --checkpoint; training alone leaves a classifier fresh."""
    network = space.build()
    c.loaded = load_state(
        network,
        state,
        source=f"--checkpoint {c.checkpoint}",
        classifier=space.classifier,
        fresh_classifier=c.aim == "train",
        ema=c.ema,
        remedy=remedy_for(space, network.state_dict(), state) if isinstance(c.task, CrossEntropy) else RECIPE,
    )
    return network


def recorded_adapted(c: NetworkContext, record: dict[str, Any]) -> dict[str, Any]:
    """`record` with the layers that are fresh in the network of --checkpoint, and the rate of all others, if any is."""
    if not c.loaded.fresh:
        return record
    adapted = {"fresh": list(c.loaded.fresh), "lr_factor": pretrained_factor(c.recipe.train)}
    return {**record, "checkpoint": {**record["checkpoint"], "adapted": adapted}}


def adapted_as_recorded(c: NetworkContext) -> Adapted | None:
    """What of the run's network is fresh, as its record says: a run that goes on keeps its rates."""
    found = (RunFolder.recorded(c.folder.path) or {}).get("checkpoint", {}).get("adapted")
    if found is None:
        return None
    adapted = Adapted(tuple(found["fresh"]), found["lr_factor"])
    rate = "alike" if adapted.factor == 1 else f"at {adapted.factor:g} of it"
    c.progress.note(
        f"adapting: the fresh classifier ({', '.join(adapted.fresh)}) learns at the recipe's rate, all other weights "
        f"{rate} (train.pretrained_lr_factor)"
    )
    return adapted


def _check_hub(c: NetworkContext, hub: HubFolder, place: str) -> None:
    """UserError for another architecture than the recipe's; a warning for pixels that are prepared otherwise."""
    try:
        check_architecture(hub, c.full_space.arch.get("model"))
    except UserError as error:
        raise error.at(place) from None
    ours = c.data.preprocessing
    odd = [key for key, value in hub.preprocessing.items() if key in ours and _differ(value, ours[key])]
    if odd:
        shown = ", ".join(f"{key} = {hub.preprocessing[key]} there, {list(ours[key])} in the recipe" for key in odd)
        warnings.warn(
            f"{place}: was trained on pixels prepared otherwise ({shown}); set the recipe's data section to its "
            "config.json's if that is not meant",
            stacklevel=2,
        )


def _differ(there: Collection[float], here: Collection[float]) -> bool:
    return len(there) != len(here) or any(abs(a - b) > 1e-3 for a, b in zip(there, here, strict=True))


def remedy_for(space: Space, own: Collection[str], state: Collection[str]) -> str:
    """What helps where weights named as in `state` do not fit a network of `space` with the names `own`."""
    names, _ = shortened(dict.fromkeys(state), own)
    whose, model = looks_like(names) or ("", "")
    same = not whose or whose == (looks_like(own) or ("",))[0]
    if same and sum(name in names for name in own) * 2 > len(own):
        return RECIPE
    looks = f"its names look like those of {whose}; " if whose else ""
    if isinstance(space, TracedSpace):
        model = model or "resnet50 (timm's), torchvision:resnet50 or my_net.py:make"
        return f"{looks}set space.model to the checkpoint's network, such as {model}"
    families = ", ".join(name for name in sorted(SPACES) if name != TracedSpace.name)
    return (
        f"{looks}{RECIPE}, or take a recipe of its family ({families}), or for any other network any/classifier with "
        f"--cfg-options space.model=NAME{f' ({model}, ...)' if model else ''}"
    )


def _load_own(c: NetworkContext, path: Path) -> tuple[nn.Module, Space]:
    """The network saved at `path` and its space. A card may be a stranger's: it is compared, nothing is built of it."""
    place = f"--checkpoint {path}"
    try:
        card = load_card(path)
    except UserError as error:
        raise error.at(place) from None
    check_card(c, path, card)
    carried = [key for key in c.full_space.carried if key in card.arch and key not in c.recipe.space]
    arch = {**c.full_space.arch, **{key: card.arch[key] for key in carried}}
    widths = card.arch.get("widths", {})
    if c.aim == "train" and widths != arch["widths"]:
        raise UserError(
            f"{place}: a pruned network, but this trains the recipe's; give the unpruned one (of a run of "
            "`nncompress prune`: baseline.safetensors), or set space.widths to those of its card"
        )
    # What is scored is this run's choice; the widths are the checkpoint's, so a pruned network can be pruned again.
    try:
        space = make_space(card.space, {**arch, "widths": widths})
        if len(card.classes) == len(c.data.classes):
            return load_network(path, space), space
        state = read_state(weights_of(path))
    except UserError as error:
        raise error.at(place) from None
    return c.filled(space, state), space
