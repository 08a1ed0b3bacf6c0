"""The search on MMEngine's Runner: two weight sets on two halves of D, or one on all of it, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS, MODEL_WRAPPERS
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ..penalties import L1
from ..pruning import fold
from ..search import OneSet, TwoSets, netslim_step, rarts_step
from ..spaces import Alphas, Space, norm_scales
from .data import ImageData
from .loaders import ImageLoader, PairLoader
from .sampling import stratified_halves
from .settings import SearchConfig, amp_dtype, make_method, make_optimizer, make_schedule
from .training import Job, run, training_loader

Batch = tuple[Tensor, Tensor]
PAIRED = ("rarts",)
"""Methods with two weight sets on two halves of D."""


@dataclass(frozen=True)
class Found:
    """What a search hands over: scores, the full-width network with the scores folded in, figures for the summary."""

    scores: dict[str, Tensor]
    network: nn.Module
    info: dict[str, Any]


class SearchModel(BaseModel):
    """What every search has: an l1 penalty, the score optimiser's steps summed up, losses under autocast."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__()
        self.config = config
        self.method = make_method(config)
        self.penalty = L1(config.gamma, config.penalty)
        self.register_buffer("sum_of_steps", torch.zeros((), dtype=torch.float64))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Searches have no single forward pass; `train_step` is their only entry."""
        raise TypeError("a search model has no forward; call train_step")

    def criterion(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy of `batch`, images [B, C, H, W] and labels [B], under autocast where configured."""
        device, dtype = self.sum_of_steps.device, amp_dtype(self.config.amp)
        images = batch[0].to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            logits = network(images)
        return F.cross_entropy(logits.float(), batch[1].to(device), label_smoothing=self.config.label_smoothing)

    def strength(self) -> float | None:
        """Distance the penalty alone moves a score; None for optimisers that rescale gradients (Adam)."""
        settings = self.config.alpha_optimizer
        if settings["type"] != "SGD":
            return None
        return self.penalty.strength(float(self.sum_of_steps), settings.get("momentum", 0.0))


class TwoNetworks(SearchModel):
    """u and w, both gated by one alpha, for RARTS."""

    def __init__(self, network: nn.Module, space: Space, config: SearchConfig) -> None:
        super().__init__(config)
        network = network.to(memory_format=torch.channels_last)
        self.u, self.w = deepcopy(network), deepcopy(network)
        self.alphas = Alphas(space.groups)
        self.alphas.attach(self.u)
        self.alphas.attach(self.w)

    def optimizers(self) -> OptimWrapperDict:
        """One optimiser each for u, w and alpha."""
        c = self.config
        return OptimWrapperDict(
            u=_wrap(make_optimizer(c.optimizer, self.u.parameters(), name="search.optimizer")),
            w=_wrap(make_optimizer(c.optimizer, self.w.parameters(), name="search.optimizer")),
            alpha=_wrap(make_optimizer(c.alpha_optimizer, self.alphas.parameters(), name="search.alpha_optimizer")),
        )

    def train_step(self, data: dict[str, Batch], optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """One RARTS iteration on a batch of D_p and one of D_a."""
        self.sum_of_steps += optim_wrapper["alpha"].param_groups[0]["lr"]
        sets = TwoSets(
            loss_p=lambda: self.criterion(self.u, data["p"]),
            loss_a=lambda: self.criterion(self.w, data["a"]),
            u=list(self.u.parameters()),
            w=list(self.w.parameters()),
            alpha=list(self.alphas.parameters()),
            opt_u=optim_wrapper["u"],
            opt_w=optim_wrapper["w"],
            opt_alpha=optim_wrapper["alpha"],
            average=average_gradients,
        )
        return rarts_step(sets, self.method, self.penalty)

    def scores(self) -> dict[str, Tensor]:
        """Present scores on the CPU."""
        return self.alphas.scores()

    def folded(self, space: Space) -> nn.Module:
        """The chosen weights as a network of its own, scores folded in."""
        network = space.build().to(self.sum_of_steps.device).to(memory_format=torch.channels_last)
        u, w = self.u.state_dict(), self.w.state_dict()
        if self.config.weights == "average":
            u = {k: ((v + w[k]) / 2 if v.is_floating_point() else v) for k, v in u.items()}
        network.load_state_dict(w if self.config.weights == "w" else u)
        fold(network, space, self.scores())
        return network

    def watched(self) -> nn.Module:
        """The gated network whose accuracy the curves show."""
        return self.w if self.config.weights == "w" else self.u


class OneNetwork(SearchModel):
    """One network, its BatchNorm scales as scores, for NetSlim."""

    def __init__(self, network: nn.Module, space: Space, config: SearchConfig) -> None:
        super().__init__(config)
        self.w = deepcopy(network).to(memory_format=torch.channels_last)
        self.scales = norm_scales(self.w, space.groups)

    def optimizers(self) -> OptimWrapperDict:
        """One optimiser for the weights, one for the scales."""
        scales = {id(p) for p in self.scales.values()}
        weights = [p for p in self.w.parameters() if id(p) not in scales]
        c = self.config
        return OptimWrapperDict(
            w=_wrap(make_optimizer(c.optimizer, weights, name="search.optimizer")),
            alpha=_wrap(make_optimizer(c.alpha_optimizer, self.scales.values(), name="search.alpha_optimizer")),
        )

    def train_step(self, data: Batch, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """One joint step on a batch of D."""
        opt_w, opt_alpha = optim_wrapper["w"], optim_wrapper["alpha"]
        self.sum_of_steps += opt_alpha.param_groups[0]["lr"]
        one = OneSet(
            loss=lambda: self.criterion(self.w, data),
            w=[p for group in opt_w.param_groups for p in group["params"]],
            alpha=list(self.scales.values()),
            opt_w=opt_w,
            opt_alpha=opt_alpha,
            average=average_gradients,
        )
        return netslim_step(one, self.method, self.penalty)

    def scores(self) -> dict[str, Tensor]:
        """Present BatchNorm scales on the CPU."""
        return {name: scale.detach().cpu().clone() for name, scale in self.scales.items()}

    def folded(self, space: Space) -> nn.Module:
        """The network as it is: its scores are its own BatchNorm scales."""
        return deepcopy(self.w)

    def watched(self) -> nn.Module:
        """The network whose accuracy the curves show."""
        return self.w


def search(
    network: nn.Module,
    space: Space,
    data: ImageData,
    config: SearchConfig,
    job: Job,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]],
) -> Found:
    """Search `space` from the weights of `network` (unchanged) on `data.train`.

    RARTS trains u on one stratified half of the images and w on the other; an epoch passes over both halves once.
    `evaluate` gives the figures of a network for the metrics rows.
    """
    model = (TwoNetworks if config.method["type"] in PAIRED else OneNetwork)(network, space, config)
    loaders = _loaders(model, data, config, job)
    loop: dict[str, Any] = {"by_epoch": True, "max_epochs": config.epochs}
    if len(loaders) == 2:
        # A function, because MMEngine deep-copies whatever else stands here.
        loop = {"type": PairLoop, "max_epochs": config.epochs, "auxiliary": lambda: loaders[1]}
    optimizers = model.optimizers()
    run(
        model,
        loaders[0],
        job,
        loop=loop,
        optimizers=optimizers,
        schedule={name: make_schedule(config) for name in optimizers.optim_wrappers},
        evaluate=lambda: {**evaluate(model.watched()), **_score_figures(model.scores())},
        seeded=loaders[1:],
        model_wrapper={"type": "AveragedSearch"},
    )
    folded = model.folded(space)
    if len(loaders) == 2 and config.weights == "average":
        recalibrate(folded, loaders)
    info = {**config.method, "gamma": config.gamma, "penalty": config.penalty, "strength": model.strength()}
    return Found(model.scores(), folded.cpu().eval(), info)


def recalibrate(network: nn.Module, loaders: list[ImageLoader], *, batches: int = 100) -> None:
    """Recompute BatchNorm statistics as plain means over up to `batches` training batches, in place.

    The mean of two networks' weights has statistics of its own; theirs do not fit it.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    for loader in loaders:
        loader.set_epoch(0)
    network.train()
    with torch.no_grad():
        for _, (images, _) in zip(range(batches), chain(*loaders), strict=False):
            network(images.to(device).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@LOOPS.register_module()
class PairLoop(EpochBasedTrainLoop):
    """One pass over the two halves of D: every iteration gets a batch of D_p ("p") and one of D_a ("a")."""

    def __init__(self, runner: Any, dataloader: Any, *, max_epochs: int, auxiliary: Callable[[], ImageLoader]) -> None:
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


@MODEL_WRAPPERS.register_module()
class AveragedSearch(nn.Module):
    """Data parallelism for searches: equal start on every process, gradients averaged inside the step."""

    def __init__(self, module: SearchModel) -> None:
        super().__init__()
        self.module = module
        for tensor in [*module.parameters(), *module.buffers()]:
            broadcast(tensor.data)

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """The wrapped model's step."""
        return self.module.train_step(data, optim_wrapper)


def average_gradients(gradients: list[Tensor]) -> None:
    """Replace `gradients` by their mean over all processes, in one transfer."""
    size = get_world_size()
    if size == 1:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    all_reduce(flat, op="mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _loaders(model: SearchModel, data: ImageData, config: SearchConfig, job: Job) -> list[ImageLoader]:
    splits = [data.train]
    if isinstance(model, TwoNetworks):
        splits = [data.train.subset(half) for half in stratified_halves(data.train.labels, seed=job.seed)]
    return [
        training_loader(split, batch_size=config.batch_size, seed=job.seed, num_workers=job.num_workers)
        for split in splits
    ]


def _score_figures(scores: dict[str, Tensor]) -> dict[str, float]:
    flat = torch.cat(list(scores.values())).abs()
    return {"mean_abs_score": round(float(flat.mean()), 6), "zeros": int((flat == 0).sum())}


def _wrap(optimizer: Optimizer) -> OptimWrapper:
    return OptimWrapper(optimizer=optimizer)
