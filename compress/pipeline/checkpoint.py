"""The weights that a run is given: which file they are, as recipe.json records it, and the network that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..plan import UserError, sha256
from ..spaces import Space, load_card, load_network, make_space, read_state, weights_of
from .checks import check_card

if TYPE_CHECKING:
    from .networks import NetworkContext


def checkpoint_record(
    given: str | None, found: Mapping[str, Any], *, loaded: bool, argument: str = "--checkpoint"
) -> dict[str, Any]:
    """Path and hash of the checkpoint, as recipe.json records them.

    Args:
        given: what the user names now; None: what the run in the folder was given.
        found: the record of the run in the folder, empty where there is none.
        loaded: the run has no more need of the file.
        argument: where `given` comes from, for messages.
    """
    if given is None:
        if "checkpoint" not in found:
            raise UserError(f"{argument}: missing; give the trained network (.pth, .safetensors or a run folder)")
        if loaded:
            return found["checkpoint"]
    path = Path(given or found["checkpoint"]["path"])
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix in ("", ".json"):
        file = file.with_suffix(".safetensors")
    if not file.is_file():
        missing = "no such file" if path.suffix else "no such file or folder"
        what = f"holds no {file.name}" if path.is_dir() else missing
        remedy = "give a .pth, a .safetensors or a finished run folder, or train one with `nncompress train`"
        raise UserError(what, argument=argument, value=path, remedy=remedy)
    digest = sha256(file)
    if "checkpoint" in found and found["checkpoint"]["sha256"] == digest:
        return found["checkpoint"]  # the same weights, whatever the path is called today
    return {"path": str(path), "sha256": digest}


def load_checkpoint(c: NetworkContext) -> tuple[nn.Module, Space]:
    """The network of --checkpoint and its space: the recipe's, at the widths of a card of ours."""
    path = Path(c.checkpoint or "")
    torch.manual_seed(c.recipe.seed)  # for what the checkpoint does not fill
    own = path.suffix in ("", ".json", ".safetensors") and path.with_suffix(".json").is_file()
    if path.is_dir() or own:
        return _load_own(c, path)
    return c.filled(c.full_space, read_state(path, trust=c.trust)), c.full_space


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
