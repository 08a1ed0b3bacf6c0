"""The search on MMEngine's Runner: two weight sets on two halves of D, or one on all of it, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn

from ..plan import UserError
from ..search import Scoring, harms_of
from ..search.harms import measured_widths
from ..spaces import Space
from .finite import odd_tensor
from .loaders import PairLoader
from .norms import average_statistics, batch_norms
from .parallel import EqualScores, norms, share
from .penalising import make_savings
from .searchers import SearchModel
from .settings import SearchConfig, make_method, method_of
from .tasks import Objective, Task
from .training import Job, run

WATCHED = 10
"""Batches of the statistics that a mean of two networks is evaluated with after an epoch: few, as they only show."""


@dataclass(frozen=True)
class Found:
    """What a search hands over: scores, the full-width network with the scores folded in, figures for the summary."""

    scores: dict[str, Tensor]
    network: nn.Module
    info: dict[str, Any]


def search(
    network: nn.Module,
    space: Space,
    task: Task,
    config: SearchConfig,
    job: Job,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> Found:
    """Search `space` from the weights of `network` (unchanged) for `task`, on its training data D.

    Methods that halve D use its two halves; an epoch passes over both once. `evaluate` gives the figures of a network
    for the metrics rows; None: there are none. Scorers that need no search return at once. Raises UserError, before
    anything is trained, for a latency table that is not this network's.
    """
    method = method_of(config)
    if method.score is not None:
        scores = method.score(scoring(network, space, task, config, job))
        _check_found(scores)
        return Found(scores, network, {**config.method, "gamma": None, "penalty": None, "strength": None})
    model = SearchModel(network, space, config, input_size=task.input_size, objective=task)
    batch_size = share(config.batch_size, job.processes)
    loaders = task.halves(batch_size, job) if method.halves else [task.loader(batch_size, job)]
    loop: dict[str, Any] = {"by_epoch": True, "max_epochs": config.epochs}
    if len(loaders) == 2:
        # A function, because MMEngine deep-copies whatever else stands here.
        loop = {"type": PairLoop, "max_epochs": config.epochs, "auxiliary": lambda: loaders[1]}
    optimizers = model.optimizers()

    def figures() -> dict[str, float]:
        if evaluate is None:
            return {}
        if model.averaged and model.source.gating() is not None:  # else the mean is no network without its source
            return evaluate(handed_over(model, space, loaders, batches=WATCHED))
        return evaluate(model.watched())

    run(
        model,
        loaders[0],
        job,
        config=config,
        loop=loop,
        optimizers=optimizers,
        schedule={name: task.schedule(config) for name in optimizers.optim_wrappers},
        evaluate=lambda: {**figures(), **_score_figures(model.scores())},
        seeded=[*loaders[1:], model],
        wrapped_as="AveragedSearch",
        hooks=[EqualScores(model)] if get_world_size() > 1 else [],
    )
    folded, scores = handed_over(model, space, loaders), model.scores()
    _check_found({**scores, **folded.state_dict()})
    return Found(scores, folded.cpu().eval(), model.info())


def handed_over(model: SearchModel, space: Space, loaders: list[Any], *, batches: int = 100) -> nn.Module:
    """The network that goes on if the search ends now, on its device; a mean has statistics of `batches` batches."""
    folded = model.folded(space)
    if model.averaged:
        with norms(folded, model.config):
            recalibrate(folded, loaders, model.objective, batches=batches)
        average_statistics(folded)
    return folded


def scoring(network: nn.Module, space: Space, task: Task, config: SearchConfig, job: Job) -> Scoring:
    """What a method that trains nothing scores by: `network`, its training loss on batches of D, the latency table.

    `savings` raises UserError for a latency table that is not this network's.
    """

    def batches() -> Iterator[Any]:
        loader = task.loader(config.batch_size, job)
        loader.set_epoch(0)
        return iter(loader)

    return Scoring(
        settings=make_method(config),
        network=network,
        space=space,
        seed=job.seed,
        batches=batches,
        loss=partial(task.loss, label_smoothing=0.0),
        on_device=lambda: deepcopy(network).to(get_device()),
        savings=partial(make_savings, config, space, input_size=task.input_size),
    )


def measured(
    network: nn.Module,
    space: Space,
    scores: Mapping[str, Tensor],
    task: Task,
    config: SearchConfig,
    job: Job,
    *,
    images: int,
) -> dict[str, list[float]]:
    """`harms_of` the trained `network` on about `images` training images, as a search's first batches have them.

    Args:
        network: unchanged.
        space: of `network`.
        scores: {group: [C]}.
        task: whose loss rises.
        config: of the search, for its batches.
        job: with the seed; its progress is told of every width that is measured.
        images: how many, rounded up to whole batches.
    """
    found = scoring(network, space, task, config, job)
    batches = list(islice(found.batches(), -(-images // config.batch_size)))
    job.progress.start("harms", sum(len(measured_widths(group.size)) - 1 for group in space.groups), 0)
    return harms_of(found.on_device(), space, scores, found.loss, batches, advance=job.progress.advance)


def recalibrate(network: nn.Module, loaders: list[Any], objective: Objective, *, batches: int = 100) -> None:
    """Recompute BatchNorm statistics as plain means over up to `batches` training batches, in place.

    The mean of two networks' weights has statistics of its own; theirs do not fit it.
    """
    norms = batch_norms(network)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    for loader in loaders:
        loader.set_epoch(0)
    network.train()
    with torch.no_grad():
        for batch in islice(chain.from_iterable(zip(*loaders, strict=False)), batches):
            objective.loss(network, batch, label_smoothing=0.0)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@LOOPS.register_module()
class PairLoop(EpochBasedTrainLoop):
    """One pass over the two halves of D: every iteration gets a batch of D_p ("p") and one of D_a ("a")."""

    def __init__(self, runner: Any, dataloader: Any, *, max_epochs: int, auxiliary: Callable[[], Any]) -> None:
        super().__init__(runner, dataloader, max_epochs)
        self.auxiliary = auxiliary()

    def run_epoch(self) -> None:
        """Iterate over both loaders side by side."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for i, batches in enumerate(PairLoader(self.dataloader, self.auxiliary)):
            self.run_iter(i, batches)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def _check_found(tensors: Mapping[str, Tensor]) -> None:
    """UserError unless all numbers that a search hands over, {group or tensor: values}, are finite."""
    if name := odd_tensor(tensors):
        raise UserError(
            f"search: what it found for {name!r} is not finite: the weights that it began with or ended with are too "
            "large; give another --checkpoint, or lower the search's rates, in a new --work-dir"
        )


def _score_figures(scores: dict[str, Tensor]) -> dict[str, float]:
    flat = torch.cat(list(scores.values())).abs()
    return {"mean_abs_score": round(float(flat.mean()), 6), "zeros": int((flat == 0).sum())}
