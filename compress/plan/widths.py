"""Scores and the plan of what to keep: the plain values between search, selection and slicing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, shown
from .files import replacing, write_json
from .kinds import ascending
from .plan_file import FORMAT, PlanFile
from .stored import read_stored
from .tensors import check_finite, read_safetensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WidthPlan:
    """Kept channel indices of every group, ascending, and the record of how they were chosen.

    `sizes` are the widths before. `record` holds plain values (budget, ranking, costs) for people and for redoing the
    selection; slicing needs only `kept`. Raises UserError when indices are out of range, repeated or unsorted.

    Example::

        plan = WidthPlan("preresnet", sizes={"layer1.0.conv1": 16}, kept={"layer1.0.conv1": (0, 3)})
        plan.save("plan.json")
    """

    space: str
    sizes: Mapping[str, int]
    kept: Mapping[str, tuple[int, ...]]
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sizes.keys() != self.kept.keys():
            odd = sorted(self.sizes.keys() ^ self.kept.keys())
            raise UserError(f"plan: groups {odd} have a size or kept indices, not both; redo the selection")
        for name, kept in self.kept.items():
            if ascending(kept) or not all(0 <= index < self.sizes[name] for index in (*kept[:1], *kept[-1:])):
                raise UserError(
                    f"plan: kept indices of {name!r} must be ascending, distinct and from 0 to "
                    f"{self.sizes[name] - 1}; got {_short(kept)}; redo the selection"
                )

    @classmethod
    def whole(cls, space: str, sizes: Mapping[str, int]) -> WidthPlan:
        """The plan that keeps all channels of groups of `sizes`."""
        return cls(space, sizes, {name: tuple(range(size)) for name, size in sizes.items()})

    @property
    def widths(self) -> dict[str, int]:
        """Group -> number of kept channels."""
        return {name: len(kept) for name, kept in self.kept.items()}

    def check_fits(self, sizes: Mapping[str, int]) -> None:
        """Raise UserError, naming the groups that differ, unless `sizes` are the plan's."""
        odd = sorted(name for name in {*sizes, *self.sizes} if sizes.get(name) != self.sizes.get(name))
        if odd:
            shown = ", ".join(f"{n} (plan {self.sizes.get(n)}, network {sizes.get(n)})" for n in odd[:5])
            raise UserError(f"plan: made for another network; {len(odd)} groups differ: {shown}")

    def within(self, earlier: WidthPlan) -> WidthPlan:
        """This plan for the network that `earlier`, of the same groups, has left: indices among the channels there.

        Slicing by `earlier` and then by this is slicing by `self` at once. Raises UserError where `earlier` has removed
        a channel that `self` keeps.

        Example::

            earlier = WidthPlan("preresnet", {"conv1": 8}, {"conv1": (2, 5)})
            WidthPlan("preresnet", {"conv1": 8}, {"conv1": (5,)}).within(earlier).kept  # {"conv1": (1,)}
        """
        self.check_fits(earlier.sizes)
        present = {name: kept for name, kept in earlier.kept.items() if kept}
        places = {name: {channel: i for i, channel in enumerate(kept)} for name, kept in earlier.kept.items()}
        if gone := [name for name, kept in self.kept.items() if not places[name].keys() >= {*kept}]:
            raise UserError(f"plan: keeps channels of {gone[:3]} that an earlier plan has removed; redo the selection")
        kept = {name: tuple(places[name][channel] for channel in self.kept[name]) for name in present}
        return WidthPlan(self.space, {name: len(present[name]) for name in present}, kept)

    def spread(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`scores` {group: [kept]} of the network that this plan has left as {group: [size]}: 0 where channels went."""
        import torch

        spread = {name: torch.zeros(size) for name, size in self.sizes.items()}
        for name, score in scores.items():
            spread[name][list(self.kept[name])] = score.detach().float().cpu()
        return spread

    def save(self, path: str | Path) -> None:
        """Write JSON to `path` atomically."""
        groups = {name: {"size": self.sizes[name], "kept": list(self.kept[name])} for name in self.sizes}
        write_json(path, {"format": FORMAT, "space": self.space, "groups": groups, **self.record})

    @classmethod
    def load(cls, path: str | Path) -> WidthPlan:
        """Read what `save` wrote; UserError when it is no plan."""
        value = read_stored(path, PlanFile, version=FORMAT, remedy="redo the selection")
        groups, space = value.pop("groups"), value.pop("space")
        del value["format"]
        sizes = {name: group["size"] for name, group in groups.items()}
        return cls(space, sizes, {name: tuple(group["kept"]) for name, group in groups.items()}, value)


def save_scores(path: str | Path, scores: Mapping[str, Tensor]) -> None:
    """Write `scores`, {group: float32 [C]}, as safetensors to `path` atomically."""
    from safetensors.torch import save_file

    with replacing(path) as tmp:
        save_file({name: value.contiguous() for name, value in scores.items()}, tmp)


def load_scores(path: str | Path) -> dict[str, Tensor]:
    """Read what `save_scores` wrote; UserError when it is missing, broken, or holds other than finite float32 [C]."""
    import torch

    remedy = "run the search stage again"
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; run the search stage first")
    scores = read_safetensors(path, source=str(path), remedy=remedy)
    if not scores:
        raise UserError(f"{path}: holds no scores; {remedy}")
    for name, score in scores.items():
        if score.dtype != torch.float32 or score.dim() != 1 or not len(score):
            given = f"{str(score.dtype).removeprefix('torch.')} {list(score.shape)}"
            raise UserError(f"{path}: {shown(name)} is {given}; scores must be float32 [channels]; {remedy}")
        check_finite(name, score, source=str(path), remedy=f"{remedy}, with a lower rate where it diverged")
    return scores


def _short(kept: tuple[int, ...]) -> str:
    return str(list(kept[:8])) + ("..." if len(kept) > 8 else "")
