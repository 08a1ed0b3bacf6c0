"""The steps of `compress.prune` one by one: scores, then a plan; `slice_model` makes the network of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..engine import searching
from ..engine.training import Job
from ..plan import Seed, UserError, WidthPlan, scratch, speaking
from ..plan.errors import FAULTS, reason
from ..plan.settings import convert
from ..pruning import plan_for
from ..report.progress import TerminalProgress
from ..search import DEFAULT
from ..spaces import Space, kind_of, own_surroundings, sizes
from .arguments import WORDS, Ignored, Limits, budget_of, select_config, select_section
from .data import Loss
from .subject import Subject


@dataclass(frozen=True)
class Scored:
    """A network whose channels have scores.

    Attributes:
        scores: {group: [C]}; channels of small magnitude go first.
        network: at full width, in evaluation mode, the scores folded into its weights: what `slice_model` slices.
        space: its groups.
        left: {layers that keep their channels: why}.
        input_size: (C, H, W) of the images that MACs are counted for.
    """

    scores: Mapping[str, Tensor]
    network: nn.Module
    space: Space
    left: Mapping[str, str]
    input_size: tuple[int, int, int]


@own_surroundings()
@speaking(WORDS)
def score(
    model: nn.Module,
    example_input: Tensor,
    train_data: Any = None,
    *,
    method: str | Mapping[str, Any] = DEFAULT,
    loss: Loss | None = None,
    ignored_layers: Ignored = (),
    streams: bool = True,
    search: Mapping[str, Any] | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Scored:
    """Scores of the channels of `model` (unchanged): the search of `compress.prune`, whose arguments these are.

    Args:
        model: any network.
        example_input: [B, C, H, W].
        train_data: a DataLoader or a data set; None for methods that need none.
        method: its name, or {"type": name, and its settings}.
        loss: (network, batch) -> scalar, in place of cross entropy.
        ignored_layers: modules, their names or their types that keep all their channels.
        streams: residual streams are scored too.
        search: settings of the search.
        seed: of all that is random.
        quiet: show no progress.

    Raises UserError as `compress.prune`.

    Example::

        scored = score(net, torch.randn(1, 3, 32, 32), method="magnitude")
        plan = select(scored, budget={"macs_ratio": 0.5})
        small, space = slice_model(scored.network, scored.space, plan)
    """
    seed = convert(seed, Seed, "seed")
    subject = Subject.of(
        model,
        example_input,
        train_data,
        method=method,
        loss=loss,
        ignored_layers=ignored_layers,
        streams=streams,
        search=search,
    )
    subject.check_learning()
    with scratch() as folder, TerminalProgress(quiet=quiet) as progress:
        progress.announce("search")
        job = Job(folder, folder / "metrics.jsonl", "search", seed, progress)
        found = searching.search(subject.network, subject.space, subject.task, subject.search, job)
    return Scored(found.scores, found.network.eval(), subject.space, subject.left, subject.task.input_size)


@own_surroundings()
@speaking(WORDS)
def select(
    scored: Scored,
    *,
    budget: Limits = None,
    pruning_ratio: float | None = None,
    round_to: Literal["auto"] | int = "auto",
) -> WidthPlan:
    """The channels that stay under a budget.

    Args:
        scored: of `score`; `dataclasses.replace(scored, scores=mine)` chooses by scores of your own.
        budget: as `compress.prune` takes it.
        pruning_ratio: share of the channels to remove, in place of `budget`.
        round_to: widths become multiples of it; "auto" as there.

    Raises UserError for a budget that is out of reach, with what can be reached.

    Example::

        plan = select(score(net, images, method="magnitude"), pruning_ratio=0.4)
        plan.widths
    """
    if not isinstance(scored, Scored):
        raise UserError(f"scored = {kind_of(scored)}: must be what compress.score gives")
    scores = _scores_of(scored)
    limit, section = budget_of(budget, pruning_ratio), select_section(round_to)
    config = select_config(section, scored.space, scored.input_size, limit)
    return plan_for(scored.space, scores, limit, config, input_size=scored.input_size)


def _scores_of(scored: Scored) -> dict[str, Tensor]:
    """Its scores as tensors; UserError unless there is one for each channel of each group, and no others."""
    if not isinstance(scored.scores, Mapping):
        raise UserError(
            f"scores = {kind_of(scored.scores)}: must map groups to their scores, as compress.score gives them"
        )
    wanted, found = sizes(scored.space.groups), dict(scored.scores)
    if wanted.keys() != found.keys():
        name = min(wanted.keys() ^ found.keys(), key=str)
        rule = "is no group; leave it away" if name in found else "is missing; give scores of all groups"
        raise UserError(f"scores[{name!r}]: {rule}")
    for name, n in wanted.items():
        try:
            found[name] = torch.as_tensor(found[name], dtype=torch.float32, device="cpu").detach()
        except FAULTS as error:
            raise UserError(f"scores[{name!r}]: are no numbers ({reason(error)}); give a tensor [{n}]") from error
        if found[name].shape != (n,):
            raise UserError(f"scores[{name!r}]: are {list(found[name].shape)}; give one for each channel, [{n}]")
    return {name: found[name] for name in wanted}
