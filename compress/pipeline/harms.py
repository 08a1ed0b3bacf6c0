"""Harms of a run's network, measured on its training images before channels are selected, once for every search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from ..engine.searching import measured
from ..plan import load_scores, read_stored, sha256, write_json
from ..plan.kinds import Amount, Count, Name, Text
from ..spaces import Space, load_model, load_space, sizes
from .checks import SEARCHED

if TYPE_CHECKING:
    from .networks import NetworkContext
    from .stage import Figures

HARMS = "harms.json"
FORMAT = 1


class MadeOf(TypedDict):
    """What harms depend on: hashes of the search's scores and of its network, and on how many images."""

    scores: Text
    network: Text
    images: Count


class HarmsFile(TypedDict):
    """harms.json: harm of a group's best 0, 1, ..., C channels, and what that was measured with."""

    format: int
    made_of: MadeOf
    harms: dict[Name, list[Amount]]


def measured_harms(c: NetworkContext, space: Space, scores: Mapping[str, Tensor]) -> dict[str, list[float]] | None:
    """{group: harm of its best 0, 1, ..., C channels} in the network that the search has left; None where `select.gain`
    does not go by them.

    They are kept in the run's harms.json. What is there already, or in the run of --search-from, is taken if it was
    measured with the same scores, network and number of images. Channels that earlier rounds have removed are worth
    nothing.

    Args:
        c: of the run.
        space: of the unpruned network.
        scores: of all its channels.
    """
    if c.recipe.select.gain != "measured":
        return None
    scored, network, _ = (c.folder / name for name in SEARCHED)
    made_of = {"scores": sha256(scored), "network": sha256(network), "images": c.recipe.select.images}
    if (own := _kept(c.folder.path, made_of)) is not None:
        return own
    other = _kept(Path(c.search_from), made_of) if c.search_from is not None and c.copies else None
    harms = _measured(c, space, scores) if other is None else other
    write_json(c.folder / HARMS, {"format": FORMAT, "made_of": made_of, "harms": harms})
    return harms


def keep_harms(c: NetworkContext, figures: Figures) -> None:
    """What the search left -> harms.json."""
    measured_harms(c, load_space(c.folder / "baseline"), load_scores(c.folder / SEARCHED[0]))


def _kept(folder: Path, made_of: dict[str, Any]) -> dict[str, list[float]] | None:
    """The harms in the run `folder`; None where there are none, or of something else."""
    if not (folder / HARMS).exists():
        return None
    found = read_stored(folder / HARMS, HarmsFile, version=FORMAT, remedy="remove it, and they are measured again")
    return found["harms"] if found["made_of"] == made_of else None


def _measured(c: NetworkContext, space: Space, scores: Mapping[str, Tensor]) -> dict[str, list[float]]:
    images = c.recipe.select.images
    network, left, _ = load_model(c.folder / "searched")
    own = {name: scores[name][torch.tensor(kept, dtype=torch.long)] for name, kept in c.earlier.kept.items() if kept}
    c.progress.note(
        f"measuring on {min(images, len(c.data.train))} training images what fewer channels cost, group by group"
    )
    harms = measured(network, left, own, c.task, c.recipe.search, c.job("search"), images=images)
    return {name: pad(harms.get(name, []), n + 1) for name, n in sizes(space.groups).items()}


def pad(harms: list[float], n: int) -> list[float]:
    """`harms` with 0 for as many more channels as make them `n`."""
    return [*harms, *[0.0] * (n - len(harms))]
