"""Recipes of topology searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine.data import DataConfig
from ..pipeline.recipe import RECIPES, BaseRecipe, check_arguments
from ..plan import Seed, UserError, check_settings
from ..spaces import find_space
from .settings import TopologySearch
from .supernet_space import SPACE_OF_CELLS


@dataclass(frozen=True)
class BenchConfig:
    """True accuracies of all cells, where a benchmark knows them.

    They are reported, epoch by epoch; the search never sees them.

    Args:
        file: a table, or NATS-Bench's folder.
        dataset: whose accuracies they are, by its name there.
    """

    file: str
    dataset: str

    def __post_init__(self) -> None:
        check_settings(self, "bench")


@dataclass(frozen=True)
class TopologyRecipe(BaseRecipe):
    """A search of cells. `space` is {"type": "nats_supernet" or "darts_supernet", its arguments}.

    `target` are the arguments of the network that the cells are for (those of the space `nats_cells` or `darts_cells`,
    such as channels and layers): parameters, MACs and latencies are its. Raises UserError for a value that is not one
    of its choices, or out of its range.
    """

    name: str
    space: Mapping[str, Any]
    data: DataConfig
    search: TopologySearch
    target: Mapping[str, Any] = field(default_factory=dict)
    bench: BenchConfig | None = None
    seed: Seed = 0

    command = "search-topology"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = self.target_type
        find_space(kind)
        if given := [key for key in ("type", "genotype", "widths") if key in self.target]:
            raise UserError(f"target.{given[0]}: is what the search finds; leave it away")
        check_arguments("target", kind, self.target)
        if self.search.penalty == "zero_one" and self.space.get("relaxation", "softmax") != "sigmoid":
            raise UserError(
                "search.penalty = 'zero_one': needs space.relaxation = 'sigmoid'; set that, or leave it away"
            )
        if self.bench is not None and kind != "nats_cells":
            raise UserError("bench: NATS-Bench knows the cells of nats_supernet alone; leave it away")

    @property
    def target_type(self) -> str:
        """The space of the network that the cells are for."""
        return SPACE_OF_CELLS[self.space["type"]]


for _name in SPACE_OF_CELLS:
    RECIPES[_name] = TopologyRecipe
