"""What is checked of a run before the first of its stages writes: budget, batches, tables, another run's search."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import get_world_size
from torch import nn

from ..engine.parallel import share
from ..engine.settings import SearchConfig, TrainConfig, method_of, penalty_of
from ..engine.tasks import Classification
from ..engine.training import Classifier
from ..penalties import PENALTIES
from ..plan import UserError, load_scores
from ..plan.errors import reason
from ..plan.run_files import recipe_of
from ..pruning import Budget
from ..spaces import Card, Space, read_state, sizes
from ..spaces.foreign import ADAPT
from .folder import RunFolder, differences
from .tables import RunTable

if TYPE_CHECKING:
    from .networks import NetworkContext

SEARCHED = ("scores.safetensors", "searched.safetensors", "searched.json")
"""What a search writes, and --search-from copies."""


_FIRST = {"steps": "step1", "before": "../step1"}
"""Key in the record of a run that began with a pruned network -> where, from there, the first round is."""


def check_has_tables(c: NetworkContext, argument: str) -> None:
    """UserError, beginning with `argument`, where no latency tables are measured of the networks of `c`."""
    if c.untimed:
        raise UserError(
            f"{argument}: no latency table is measured of this {c.recipe.space['type']} ({c.untimed}); prune it to a "
            "--pruning-ratio, --macs-ratio or --params-ratio"
        )


def check_budget(search: SearchConfig, budget: Budget) -> None:
    """UserError when a free ratio would prune nothing, because the search makes no score exactly zero."""
    method, penalty = method_of(search), penalty_of(search)
    if budget.limits.cost is None and not method.makes_zeros(penalty, search.gamma):
        exact = [other.name for other in PENALTIES.values() if method.makes_zeros(other, 1.0)]
        remedy = f", or set search.penalty={exact[0]} and search.gamma above 0" if exact else ""
        raise UserError(
            f"budget: none, but {method.name} with search.penalty = {penalty.name!r} and search.gamma = "
            f"{search.gamma:g} makes no score exactly zero, so a free ratio would prune nothing; give pruning_ratio"
            f"{remedy}"
        )


def check_batches(c: NetworkContext, stages: Collection[str]) -> None:
    """UserError when a stage could not fill one batch of training images, which it would find out after the others."""
    for name in ("train", "search", "finetune"):
        section = getattr(c.recipe, name)
        method = method_of(section) if name == "search" else None
        unused = method is not None and (c.copies or not method.batches)
        if name not in stages or unused:
            continue
        halved, batch_size = method is not None and method.halves, share(section.batch_size, c.processes)
        check_batch(name, batch_size, len(c.data.train), halved=halved)
        if isinstance(c.task, Classification):  # a detector's maps are larger
            step = {"batch_size": batch_size, "processes": get_world_size()}
            check_single(name, section, c.full_space, input_size=c.task.input_size, **step)
    if c.recipe.select.gain == "measured" and "select" in stages:  # on one process, whatever the search has
        check_batch("search", c.recipe.search.batch_size, len(c.data.train), halved=False)


def check_batch(section: str, batch_size: int, images: int, *, halved: bool) -> None:
    """UserError when the processes' shares of `images`, each `halved` or not, do not fill one batch."""
    own = images // (2 if halved else 1) // get_world_size()
    if batch_size > own:
        share = (" of each half" if halved else "") + (" per process" if get_world_size() > 1 else "")
        raise UserError(
            f"recipe: {section}.batch_size = {batch_size}: more than the {own} training images{share}, so no batch is "
            "full; lower it, or use more images"
        )


def check_single(
    section: str,
    config: TrainConfig | SearchConfig,
    space: Space,
    *,
    input_size: tuple[int, int, int],
    batch_size: int,
    processes: int,
) -> None:
    """UserError where a step of `section` shows one image, and the network wants more: for BatchNorms on 1 x 1 maps.

    Args:
        section: of the recipe.
        config: what it says.
        space: of the network that is trained.
        input_size: (C, H, W) of an image.
        batch_size: images a step of each process.
        processes: that train.
    """
    parts, searched, scored = 1, isinstance(config, SearchConfig), False
    if isinstance(config, SearchConfig):
        parts, scored = config.accumulate, method_of(config).step is None  # which is in evaluation mode
    if batch_size > parts or scored or (config.sync_bn and processes > 1):
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network, labels = space.build(), torch.zeros(1, dtype=torch.int64)
        # Training has an auxiliary head beside the network.
        model, batch = (network, []) if searched else (Classifier(network), [labels])
        try:
            model.train()(torch.zeros(1, *input_size), *batch)
        except ValueError as error:
            rule = f"one image at a time, which the network does not take in training ({reason(error)})"
            key, value, less = ("accumulate", parts, "lower it") if parts > 1 else ("batch_size", batch_size, "take 2")
            remedy = f"{less}, or take larger images"
            raise UserError(rule, argument=f"{section}.{key}", value=value, remedy=remedy).at("recipe") from error


def check_card(c: NetworkContext, path: Path, card: Card) -> None:
    """UserError unless the network of `card` is one of the recipe's space, on its data and of its architecture."""
    other_space, other_number = card.space != c.recipe.space["type"], len(card.classes) != len(c.data.classes)
    if other_space or (other_number and c.aim != "train"):
        raise UserError(
            f"--checkpoint {path}: a {card.space} with {len(card.classes)} classes, but the recipe asks for "
            f"{c.recipe.space['type']} on {c.data.name} with {len(c.data.classes)}; use the checkpoint's recipe"
            f"{'' if other_space else f', or {ADAPT}'}"
        )
    if not other_number and tuple(card.classes) != tuple(c.data.classes):
        raise UserError(f"--checkpoint {path}: trained on other classes than {c.data.name}'s; use its own recipe")
    theirs, ours = dict(card.preprocessing), c.data.preprocessing
    if odd := [key for key in ours if key not in c.unlearnt and theirs.get(key) != ours[key]]:
        raise UserError(
            f"--checkpoint {path}: trained with {odd[0]} = {theirs.get(odd[0])!r}, the recipe has {ours[odd[0]]!r}; "
            f"set the recipe's data section to the checkpoint's"
        )
    # As the space has it: a recipe may say with tuples what the card has as lists.
    arch = c.full_space.arch
    if odd := [key for key in c.settled if card.arch.get(key) != arch[key]]:
        shown = ", ".join(f"{k} = {card.arch.get(k)!r} there, {arch[k]!r} in the recipe" for k in odd)
        raise UserError(f"--checkpoint {path}: a checkpoint of another architecture ({shown}); correct space.{odd[0]}")


def check_is_there(source: str | Path) -> None:
    """UserError unless the run of --search-from has a folder."""
    if not Path(source).is_dir():
        what = "is a file" if Path(source).exists() else "no such folder"
        raise UserError(what, argument="--search-from", value=str(source), remedy="give the folder of a run")


def check_searched(source: Path, c: NetworkContext, network: nn.Module, space: Space) -> dict[str, Any]:
    """The search stage's figures of the run `source`; UserError unless it finished from `network` in `space`, on the
    data of `c`, as its recipe searches."""
    check_is_there(source)
    plain = c.recipe.to_json()
    files = [source / name for name in ("stages.json", "baseline.safetensors", *SEARCHED)]
    try:
        done = RunFolder(source).stages
        record = RunFolder.recorded(source) or {}
    except UserError as error:
        raise error.at(f"--search-from {source}") from None
    if first := next((place for key, place in _FIRST.items() if key in record), None):
        raise UserError(
            f"--search-from {source}: searched what an earlier round had left; give {source / first}, the first round"
        )
    theirs = recipe_of(record)
    if "search" not in done:
        state = "its search has not finished; finish it with --resume" if done else "not a run folder; give a run's"
        raise UserError(f"--search-from {source}: {state}")
    settings = ("data", "space", "search", "seed")
    if odd := differences({key: theirs.get(key) for key in settings}, {key: plain[key] for key in settings}):
        raise UserError(
            f"--search-from {source}: searched with another recipe ({odd}); give the same settings, or "
            f"{source / 'recipe.json'} as the recipe"
        )
    used = RunTable.from_json(record["latency_table"]) if record.get("latency_table") else None
    # Older runs have not recorded the search's table.
    if used is not None and used.searched and c.table is not None and used.sha256 != c.table.sha256:
        raise UserError(
            f"--search-from {source}: searched with another latency table than {c.table.place}; use its own"
        )
    if absent := [file.name for file in files if not file.is_file()]:
        raise UserError(f"--search-from {source}: {', '.join(absent)} missing; restore it, or search again")
    start, ours = read_state(source / "baseline.safetensors"), network.state_dict()
    if start.keys() != ours.keys() or not all(torch.equal(start[name], ours[name]) for name in ours):
        raise UserError(f"--search-from {source}: searched from another checkpoint; give that one as --checkpoint")
    check_scores(load_scores(source / "scores.safetensors"), sizes(space.groups), name=f"--search-from {source}")
    return done["search"]


def check_scores(scores: Mapping[str, Any], expected: Mapping[str, int], *, name: str) -> None:
    """UserError, beginning with `name`, unless `scores` {group: [size]} are those of `expected` {group: size}."""
    found = {group: len(score) for group, score in scores.items()}
    if found != expected:
        odd = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        shown = ", ".join(odd[:4]) + (", ..." if len(odd) > 4 else "")
        raise UserError(f"{name}: scores of another network or space; {len(odd)} groups differ: {shown}; search again")
