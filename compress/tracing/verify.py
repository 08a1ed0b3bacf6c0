"""Groups that prove themselves: on the network itself, masked must equal sliced.

A copy of the network gets random statistics, scales and biases, so that zeros and ones of a fresh network hide nothing,
and random scores of which some are exactly zero. Gates multiply by the scores; in another copy they are folded into the
weights, and the channels whose scores are zero are sliced off. Both must give the same outputs, of many channels as of
one: code that cuts a tensor in halves, or counts its channels, is right of some numbers by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..plan import UserError, WidthPlan
from ..plan.errors import FAULTS, reason
from ..pruning import slice_state
from ..spaces import Alphas, Group, fold_scores, kind_of, narrow, narrow_heads, sizes

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Of the largest output: how far masked and sliced may be apart."""


@dataclass(frozen=True)
class Folding:
    """What folding and slicing need of a space."""

    groups: tuple[Group, ...]
    normalised: Mapping[str, str]


class Verifier:
    """Tries groups on `model`, in evaluation mode on the CPU, called with `example`; `normalised` as in Space.

    `model` changes: in float64, which tells a wrong channel from rounding, and with random numbers for its own. Raises
    UserError where its outputs are not finite.
    """

    def __init__(
        self, model: nn.Module, example: tuple[Any, ...], normalised: Mapping[str, str], *, seed: int = 0
    ) -> None:
        self.normalised = normalised
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = torch.float64
        self.example: tuple[Any, ...] = tree_map(self._noise, example)
        self.model = model.requires_grad_(False).to(self.dtype)
        randomise(self.model, self.generator)
        self._settle()

    def _noise(self, value: Any) -> Any:
        if not is_floating(value):
            return value
        return torch.randn(value.shape, generator=self.generator, dtype=torch.float32).to(self.dtype)

    def _settle(self) -> None:
        """Go on in float32 where the network's code insists on it; UserError where its outputs are not finite.

        What the network keeps of this pass has no history, unlike that of a traced one, and can be copied.
        """
        try:
            outputs = outputs_of(self.model, self.example)
        except FAULTS:
            self.model, self.dtype = self.model.float(), torch.float32
            self.example = tree_map(lambda each: each.to(self.dtype) if is_floating(each) else each, self.example)
            outputs = outputs_of(self.model, self.example)
        if not all(bool(value.isfinite().all()) for value in outputs):
            raise UserError(
                f"model = {kind_of(self.model)}: its outputs are not finite for the example; give one that it is made "
                "for"
            )

    def verified(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, str]]:
        """Those of `groups` that are exact, together as well as alone, and {name of another one: why it is not}."""
        exact, reasons = list[Group](), dict[str, str]()
        self._visit(list(groups), self.fault(groups) if groups else None, exact, reasons)
        if reasons:
            self._check_repeats()
        if reasons and len(exact) > 1 and self.fault(exact) is not None:
            together = list[Group]()
            for group in exact:
                fault = self.fault([*together, group])
                if fault is None:
                    together.append(group)
                else:
                    reasons[group.name] = f"not together with others: {fault}"
            exact = together
        return exact, reasons

    def _visit(self, groups: list[Group], fault: str | None, exact: list[Group], reasons: dict[str, str]) -> None:
        """Halve `groups`, which have `fault`, until each half is exact, or one group that is not."""
        if fault is None:
            exact += groups
        elif len(groups) == 1:
            reasons[groups[0].name] = fault
        else:
            middle = len(groups) // 2
            for half in (groups[:middle], groups[middle:]):
                self._visit(half, self.fault(half), exact, reasons)

    def fault(self, groups: Sequence[Group]) -> str | None:
        """Why `groups` cannot be pruned together, in words; None where masked equals sliced, however many go."""
        names = [group.name for group in groups]
        for counts in self._counts(groups):
            scores = map(self._scores, sizes(groups).values(), counts)
            if fault := self._fault_of(groups, dict(zip(names, scores, strict=True))):
                return fault
        return None

    def _fault_of(self, groups: Sequence[Group], scores: Mapping[str, Tensor]) -> str | None:
        try:
            masked = masked_outputs(self.model, groups, scores, self.example)
            sliced = outputs_of(self._sliced(groups, scores), self.example)
        except FAULTS as error:
            return f"the network does not run without some of its channels ({reason(error)[:160]})"
        if any(a.shape != b.shape for a, b in zip(masked, sliced, strict=True)):
            return "its channels reach the outputs"
        if not (gap := largest_gap(masked, sliced)) <= TOLERANCE[self.dtype]:
            return f"masked and sliced are {gap:.1g} of the output apart"
        return None

    def _check_repeats(self) -> None:
        """UserError where two calls give different outputs: then nothing is ever exact, and no group is to blame."""
        gap = largest_gap(*(outputs_of(self.model, self.example) for _ in range(2)))
        if not gap <= TOLERANCE[self.dtype]:
            raise UserError(
                f"model = {kind_of(self.model)}: two calls with one input, in evaluation mode, give outputs that are "
                f"{gap:.1g} of the largest one apart; take out what is random or counts its calls"
            )

    def _counts(self, groups: Sequence[Group]) -> Iterator[list[int]]:
        """How many channels of each group go, in three ways, of groups side by side differently many if they can.

        Any number of them; one of every other group and all but one of those between; and the other way round.
        """
        first = int(torch.randint(64, (), generator=self.generator))
        yield [1 + (first + i) % max(group.size - 1, 1) for i, group in enumerate(groups)]
        for odd in (0, 1):
            yield [1 if i % 2 == odd else group.size - 1 for i, group in enumerate(groups)]

    def _scores(self, size: int, n_gone: int) -> Tensor:
        """From 0.5 to 1.5, and zero for `n_gone` of the channels; one at least stays."""
        scores = torch.rand(size, generator=self.generator) + 0.5
        order = torch.randperm(size, generator=self.generator)
        scores[order[: min(n_gone, size - 1)]] = 0.0
        return scores

    def _sliced(self, groups: Sequence[Group], scores: Mapping[str, Tensor]) -> nn.Module:
        model = deepcopy(self.model)
        fold_scores(model, Folding(tuple(groups), self.normalised), scores)
        kept = {name: tuple(each.nonzero().flatten().tolist()) for name, each in scores.items()}
        plan = WidthPlan("traced", sizes(groups), kept)
        state = slice_state(model.state_dict(), groups, plan)
        narrow(model, groups, plan.widths)
        narrow_heads(model, groups, plan.widths)
        model.load_state_dict(state)
        return model


def is_floating(value: Any) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


def outputs_of(model: nn.Module, example: tuple[Any, ...]) -> list[Tensor]:
    """The tensors among the outputs of `model` for the arguments `example`, without empty ones; masks as 0 and 1."""
    with torch.no_grad():
        leaves = [leaf for leaf in tree_leaves(model(*example)) if isinstance(leaf, Tensor) and leaf.numel()]
    return [leaf.to(torch.uint8) if leaf.dtype == torch.bool else leaf for leaf in leaves]


def masked_outputs(
    model: nn.Module, groups: Sequence[Group], scores: Mapping[str, Tensor], example: tuple[Any, ...]
) -> list[Tensor]:
    """The outputs of `model` while gates multiply by `scores`; afterwards they are taken off again.

    Args:
        model: at full width.
        groups: whose channels are gated.
        scores: {group: [C]}.
        example: arguments of a forward pass.

    Example::

        masked_outputs(network, space.groups, alphas.scores(), (images,))
    """
    alphas = Alphas(groups).requires_grad_(False)
    alphas.load_scores(scores)
    gates = alphas.attach(model)
    try:
        return outputs_of(model, example)
    finally:
        for gate in gates:
            gate.remove()


def largest_gap(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference between two networks' outputs, in that output's largest number; of all the largest."""
    pairs = zip(wanted, found, strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in pairs)


@torch.no_grad()
def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Give `model` new statistics, scales and biases, and weights in place of zeros, in place.

    A fresh network leaves these at 0 or 1, behind which faults hide: of a head of zeros any two networks agree.

    Example::

        randomise(network, torch.Generator().manual_seed(0))
    """

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor)

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.copy_(noise(module.running_mean) * 0.1)
            module.running_var.copy_(noise(module.running_var).abs() * 0.3 + 0.7)
    for value in model.parameters():
        if not value.is_floating_point():
            continue
        if value.squeeze().dim() <= 1:
            base = value if float(value.abs().max()) > 1e-3 else torch.zeros_like(value)
            value.copy_(base + noise(value) * 0.2)
        elif not bool(value.any()):
            value.copy_(noise(value) / value[0].numel() ** 0.5)
