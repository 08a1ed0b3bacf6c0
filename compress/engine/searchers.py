"""A search method as MMEngine's model: the weight sets that it trains, where their scores live, its step applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..penalties import Penalty
from ..search import Gradients, Iteration, Logs, ProbingLoss, ScoreSource, Site, gradients_of
from ..spaces import Space, fold_scores, same_draws
from .layout import laid_out
from .norms import batch_norms
from .penalising import make_penalty
from .settings import SearchConfig, amp_dtype, make_method, method_of, penalty_of
from .tasks import CrossEntropy, Objective
from .training import Prepared

Batch = Any
"""What the objective takes: for classification images [B, C, H, W] and labels [B]."""


class SearchModel(Prepared):
    """The search that `config` describes, from the weights of `network` (unchanged) on images of `input_size`.

    Weight sets are attributes of their names, `w` or `u` and `w`; `source` is where their scores live. `objective` None
    for cross entropy; `penalty` None for the one that `config` names. Raises UserError for a space that has no place
    for the method's scores, and for a latency table that is not this network's.

    Example::

        model = SearchModel(network, space, config, input_size=(3, 32, 32))
        batch = torch.randn(4, 3, 32, 32), torch.arange(4)
        model.train_step({"p": batch, "a": batch}, model.optimizers())
    """

    def __init__(
        self,
        network: nn.Module,
        space: Space,
        config: SearchConfig,
        *,
        input_size: tuple[int, int, int],
        penalty: Penalty | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.epoch = 0
        self.gradient: Gradients = gradients_of
        self.config, self.method, self.settings = config, method_of(config), make_method(config)
        self.objective = objective or CrossEntropy()
        self.penalty = penalty or make_penalty(config, space, input_size=input_size)
        self.register_buffer("sum_of_steps", torch.zeros((), dtype=torch.float64))
        for name in self.method.weight_sets:
            self.add_module(name, laid_out(deepcopy(network)))
        assert self.method.source is not None, "a method that only scores is no search"
        site = Site(self.method.name, self.settings, space, input_size)
        self.source: ScoreSource = self.method.source.of([self.weights(name) for name in self.method.weight_sets], site)

    def weights(self, name: str) -> nn.Module:
        """The weight set called `name`."""
        return self.get_submodule(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """That of the watched network; the search itself is in `train_step`."""
        return self.watched()(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """One iteration of the method on `data`: a batch of D, or {"p": batch of D_p, "a": batch of D_a}."""
        with still(optim_wrapper["alpha"]) if self.epoch < self.config.held else nullcontext():
            return self._step(data, optim_wrapper)

    def set_epoch(self, epoch: int) -> None:
        """Tell the search its epoch: in the first ones its scores may be held, and a method may change over them."""
        self.epoch = epoch

    def _step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        assert self.method.step is not None
        self.sum_of_steps += optim_wrapper["alpha"].param_groups[0]["lr"]

        def loss(name: str, half: str | None) -> ProbingLoss:
            return partial(self.criterion, self.weights(name), data if half is None else data[half])

        logs = self.method.step(
            Iteration(
                settings=self.settings,
                penalty=self.penalty,
                gamma=self.config.gamma,
                source=self.source,
                loss=loss,
                parameters=self.parameter_sets(),
                optimizers=optim_wrapper,
                gradient=self.gradient,
                progress=self.epoch / self.config.epochs,
            )
        )
        if self.config.fixed_scale:
            self.source.normalise()
        return logs

    def criterion(self, network: nn.Module, batch: Batch, *, probe: bool = False) -> Tensor:
        """The objective's loss of `batch` (for images and labels: cross entropy), under autocast where configured.

        With `probe` the pass leaves the network's BatchNorm statistics as they were. Where the config accumulates, the
        parts of the batch are computed again in the backward pass, one by one.
        """
        device, dtype = self.sum_of_steps.device, amp_dtype(self.config.amp)
        with (
            frozen_statistics(network) if probe else nullcontext(),
            # Every probe drops the same paths, or the difference of two would be the noise of dropping.
            same_draws(device, enabled=probe),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
        ):
            if self.config.accumulate == 1:
                return self._loss(network, batch)
            parts = self.objective.parts(batch, self.config.accumulate)
            again = partial(_once, network)
            losses = [checkpoint(self._loss, network, part, use_reentrant=False, context_fn=again) for part in parts]
            return torch.stack(losses).mean()

    def _loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.objective.loss(network, batch, label_smoothing=self.config.label_smoothing)

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """Name of an optimiser -> the parameters it updates: of every weight set, and `alpha`."""
        alpha = self.source.alpha()
        scored = {id(parameter) for parameter in alpha}
        weights = {
            name: [p for p in self.weights(name).parameters() if p.requires_grad and id(p) not in scored]
            for name in self.method.weight_sets
        }
        return {**weights, "alpha": alpha}

    def optimizers(self) -> OptimWrapperDict:
        """One optimiser for each set of parameters; `alpha` is among the names."""
        wrappers = {}
        for name, parameters in self.parameter_sets().items():
            settings = self.config.alpha_optimizer if name == "alpha" else self.config.optimizer
            section = "alpha_optimizer" if name == "alpha" else "optimizer"
            objective = CrossEntropy() if name == "alpha" else self.objective
            wrappers[name] = objective.optimizer(settings, self, parameters, name=f"search.{section}")
        return OptimWrapperDict(**wrappers)

    def info(self) -> dict[str, Any]:
        """What a run records of its search: the method with all its settings, and the penalty that acted.

        `strength`: the distance the penalty alone moves a score; None without a penalty on scores and for optimisers
        that rescale gradients.
        """
        acting = self.method.penalised_by(self.settings, penalty_of(self.config))
        gamma = None if acting is None else self.config.gamma
        return {"gamma": gamma, "penalty": acting, "strength": self.strength(), **self.config.method}

    def strength(self) -> float | None:
        """Distance the penalty alone moves a score; None without a penalty on scores or for rescaling optimisers."""
        settings = self.config.alpha_optimizer
        acts = self.source.direct and self.method.takes(penalty_of(self.config))
        if settings["type"] != "SGD" or not acts:
            return None
        return self.penalty.strength(float(self.sum_of_steps), settings.get("momentum", 0.0))

    def scores(self) -> dict[str, Tensor]:
        """Present scores on the CPU, {group: float32 [C]}."""
        return self.source.scores()

    def folded(self, space: Space) -> nn.Module:
        """The weights that go on as a network of its own, without gates: their scores are folded in.

        Of two weight sets those of `search.weights`: one of them, or their mean.
        """
        network = laid_out(space.build().to(self.sum_of_steps.device))
        state = self.watched().state_dict()
        if self.averaged:
            w = self.weights("w").state_dict()
            state = {k: ((v + w[k]) / 2 if v.is_floating_point() else v) for k, v in state.items()}
        network.load_state_dict(state)
        gating = self.source.gating()
        if gating is not None:
            fold_scores(network, space, gating)
        return network

    @property
    def averaged(self) -> bool:
        """Whether the mean of u and w goes on."""
        return self.method.networks == 2 and self.config.weights == "average"

    def watched(self) -> nn.Module:
        """The weight set that goes on; u where a mean will. Curves show it, or the mean where gates make one."""
        return self.weights("u" if self.method.networks == 2 and self.config.weights != "w" else "w")


@contextmanager
def still(optimizer: Any) -> Iterator[None]:
    """Inside, a step of `optimizer` changes no parameter; what it gathers of gradients goes on."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _once(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a pass and of its repetition: BatchNorm statistics count it once."""
    return nullcontext(), frozen_statistics(network)


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch statistics are used inside, but running ones stay as they are."""
    norms = batch_norms(network)
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
