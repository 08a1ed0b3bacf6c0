"""Search methods as MMEngine models: which networks they train, where their scores live, which step they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..penalties import Penalty
from ..search import (
    METHODS,
    Bilevel,
    GroupLasso,
    MacsLoss,
    OneSet,
    Rvsm,
    Tas,
    TwoSets,
    darts1_step,
    darts2_step,
    grouplasso_step,
    joint_step,
    milenas1_step,
    rarts_step,
    rvsm_step,
    tas_step,
)
from ..spaces import Alphas, Space, fold_scores
from .penalising import l1_penalty
from .score_sources import Choices, Gates, score_source
from .settings import SearchConfig, amp_dtype, make_method
from .tasks import CrossEntropy, Objective
from .training import Prepared

Batch = Any
"""What the objective takes: for classification images [B, C, H, W] and labels [B]."""
Logs = dict[str, Tensor]
BILEVEL_STEPS: dict[str, Callable[..., Logs]] = {
    "darts1": darts1_step,
    "darts2": darts2_step,
    "milenas1": milenas1_step,
}


class SearchModel(Prepared):
    """What every search has: a penalty, the score optimiser's steps summed up, losses under autocast."""

    def __init__(self, config: SearchConfig, penalty: Penalty | None, objective: Objective | None) -> None:
        super().__init__()
        self.config = config
        self.objective = objective or CrossEntropy()
        self.method = make_method(config)
        self.penalty = l1_penalty(config) if penalty is None else penalty
        self.register_buffer("sum_of_steps", torch.zeros((), dtype=torch.float64))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Searches have no single forward pass; `train_step` is their only entry."""
        raise TypeError("a search model has no forward; call train_step")

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """One iteration of the method on `data`: a batch of D, or {"p": batch of D_p, "a": batch of D_a}."""
        self.sum_of_steps += optim_wrapper["alpha"].param_groups[0]["lr"]
        logs = self.step(data, optim_wrapper)
        if self.config.fixed_scale:
            for module in self.children():
                if isinstance(module, Alphas):
                    module.normalise()
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
            torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=probe),
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

    def strength(self) -> float | None:
        """Distance the penalty alone moves a score; None without a penalty on scores or for rescaling optimisers."""
        settings = self.config.alpha_optimizer
        if settings["type"] != "SGD" or isinstance(self.method, Tas | Rvsm | GroupLasso):
            return None
        return self.penalty.strength(float(self.sum_of_steps), settings.get("momentum", 0.0))

    def optimizers(self) -> OptimWrapperDict:
        """One optimiser for each set of parameters; `alpha` is among the names."""
        wrappers = {}
        for name, parameters in self.parameter_sets().items():
            settings = self.config.alpha_optimizer if name == "alpha" else self.config.optimizer
            section = "alpha_optimizer" if name == "alpha" else "optimizer"
            objective = CrossEntropy() if name == "alpha" else self.objective
            wrappers[name] = objective.optimizer(settings, self, parameters, name=f"search.{section}")
        return OptimWrapperDict(**wrappers)

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """Name of an optimiser -> the parameters it updates."""
        raise TypeError

    def step(self, data: Any, optimizers: OptimWrapperDict) -> Logs:
        """The method's step function, applied."""
        raise TypeError

    def scores(self) -> dict[str, Tensor]:
        """Present scores on the CPU, {group: float32 [C]}."""
        raise TypeError

    def folded(self, space: Space) -> nn.Module:
        """The weights that go on as a network of its own, without gates."""
        raise TypeError

    def watched(self) -> nn.Module:
        """The network whose accuracy the curves show."""
        raise TypeError


class TwoNetworks(SearchModel):
    """u and w, both gated by one alpha, for RARTS; `penalty` as `make_penalty` gives it, None for the config's l1;
    `objective` None for cross entropy."""

    def __init__(
        self,
        network: nn.Module,
        space: Space,
        config: SearchConfig,
        *,
        penalty: Penalty | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(config, penalty, objective)
        network = network.to(memory_format=torch.channels_last)
        self.u, self.w = deepcopy(network), deepcopy(network)
        self.alphas = Alphas(space.groups)
        self.alphas.attach(self.u)
        self.alphas.attach(self.w)

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """u, w and the scores."""
        modules = {"u": self.u, "w": self.w, "alpha": self.alphas}
        return {name: _trained(module) for name, module in modules.items()}

    def step(self, data: dict[str, Batch], optimizers: OptimWrapperDict) -> Logs:
        """One RARTS iteration on a batch of D_p and one of D_a."""
        sets = TwoSets(
            loss_p=lambda *, probe=False: self.criterion(self.u, data["p"], probe=probe),
            loss_a=lambda *, probe=False: self.criterion(self.w, data["a"], probe=probe),
            **self.parameter_sets(),
            opt_u=optimizers["u"],
            opt_w=optimizers["w"],
            opt_alpha=optimizers["alpha"],
            average=average_gradients,
        )
        return rarts_step(sets, self.method, self.penalty)

    def scores(self) -> dict[str, Tensor]:
        """The gates."""
        return self.alphas.scores()

    def folded(self, space: Space) -> nn.Module:
        """u, w or their mean (`search.weights`), scores folded in."""
        network = space.build().to(self.sum_of_steps.device).to(memory_format=torch.channels_last)
        u, w = self.u.state_dict(), self.w.state_dict()
        if self.config.weights == "average":
            u = {k: ((v + w[k]) / 2 if v.is_floating_point() else v) for k, v in u.items()}
        network.load_state_dict(w if self.config.weights == "w" else u)
        fold_scores(network, space, self.scores())
        return network

    def watched(self) -> nn.Module:
        """The gated network that goes on; u where their mean will."""
        return self.w if self.config.weights == "w" else self.u


class OneNetwork(SearchModel):
    """One network w, its scores wherever the method keeps them, trained on halves or on all of D.

    `penalty` as `make_penalty` gives it, None for the config's l1; `objective` None for cross entropy.
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
        super().__init__(config, penalty, objective)
        self.w = deepcopy(network).to(memory_format=torch.channels_last)
        self.kind = config.method["type"]
        self.source = score_source(self.w, space, self.kind, self.method)
        if isinstance(self.method, Rvsm):
            split = [p.detach().clone() for p in self.source.parameters()]
            self.split = nn.ParameterList(nn.Parameter(p, requires_grad=False) for p in split)
        if isinstance(self.method, Tas):
            assert isinstance(self.source, Choices)
            self.cost = MacsLoss(space, space.operators(input_size), self.source)

    def parameter_sets(self) -> dict[str, list[nn.Parameter]]:
        """The weights and the scores."""
        alpha = list(self.source.parameters())
        scored = {id(p) for p in alpha}
        return {"w": [p for p in _trained(self.w) if id(p) not in scored], "alpha": alpha}

    def step(self, data: Any, optimizers: OptimWrapperDict) -> Logs:
        """The method's iteration."""
        common = {
            **self.parameter_sets(),
            "opt_w": optimizers["w"],
            "opt_alpha": optimizers["alpha"],
            "average": average_gradients,
        }
        if METHODS[self.kind].halves:
            return self._bilevel_step(data, common)
        one = OneSet(loss=lambda: self.criterion(self.w, data), **common)
        if isinstance(self.method, Rvsm):
            return rvsm_step(one, list(self.split), self.method, self.config.gamma)
        if isinstance(self.method, GroupLasso):
            return grouplasso_step(one, self.method, l1_penalty(self.config))
        return joint_step(one, self.method, self.penalty)

    def _bilevel_step(self, data: dict[str, Batch], common: dict[str, Any]) -> Logs:
        sets = Bilevel(
            loss_a=lambda *, probe=False: self.criterion(self.w, data["a"], probe=probe),
            loss_p=lambda *, probe=False: self.criterion(self.w, data["p"], probe=probe),
            **common,
        )
        if isinstance(self.method, Tas):
            return tas_step(sets, self.cost)
        return BILEVEL_STEPS[self.kind](sets, self.method, self.penalty)

    def scores(self) -> dict[str, Tensor]:
        """The method's scores; RVSM's are those of its split variable."""
        if isinstance(self.method, Rvsm):
            return self.source.scores(list(self.split))
        return self.source.scores()

    def folded(self, space: Space) -> nn.Module:
        """A copy of w; where gates scored it, with the scores folded in."""
        network = space.build().to(self.sum_of_steps.device).to(memory_format=torch.channels_last)
        network.load_state_dict(self.w.state_dict())
        if isinstance(self.source, Gates):
            fold_scores(network, space, self.scores())
        return network

    def watched(self) -> nn.Module:
        """w."""
        return self.w


def _once(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a pass and of its repetition: BatchNorm statistics count it once."""
    return nullcontext(), frozen_statistics(network)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of `module` that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch statistics are used inside, but running ones stay as they are."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count


def average_gradients(gradients: list[Tensor]) -> None:
    """Replace `gradients` by their mean over all processes, in one transfer."""
    size = get_world_size()
    if size == 1:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    all_reduce(flat, op="mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
