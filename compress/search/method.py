"""What a search method is: one object, listed in METHODS, that says all that the rest of the library asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor, nn

from ..penalties import Penalty, PenaltyType
from ..plan import Registry, UserError, build_settings
from ..spaces import Space
from .descent import Gradients, Logs, Optimizer, ProbingLoss, gradients_of
from .sources import ScoreSource


@dataclass(frozen=True)
class Iteration:
    """What one iteration of a search offers its method.

    `loss("u", "p")` is the loss of the weight set u on the present batch of D_p; its half is None where the method does
    not halve D. `parameters` and `optimizers` are those of the weight sets and of `alpha`; `gradient(loss, parameters)`
    are gradients, averaged over processes; `progress` is the share of the epochs that are over.
    """

    settings: Any
    penalty: Penalty
    gamma: float
    source: ScoreSource
    loss: Callable[[str, str | None], ProbingLoss]
    parameters: Mapping[str, list[nn.Parameter]]
    optimizers: Mapping[str, Optimizer]
    gradient: Gradients = gradients_of
    progress: float = 0.0

    def sets(self) -> dict[str, Any]:
        """Parameters, optimisers (`opt_w`) and `gradient` by name, as the classes that steps act on have them."""
        optimizers = {f"opt_{name}": self.optimizers[name] for name in self.parameters}
        return {**self.parameters, **optimizers, "gradient": self.gradient}


@dataclass(frozen=True)
class Scoring:
    """What a method that trains nothing may score by: what costs something is a function, and called when it is used.

    `batches` yields training batches, `loss(network, batch)` is the training loss, `on_device` a copy of the network
    where that loss is computed fast, `savings` the share of the latency that one channel less of each group saves, by
    the run's latency table.
    """

    settings: Any
    network: nn.Module
    space: Space
    seed: int
    batches: Callable[[], Iterator[Any]]
    loss: Callable[[nn.Module, Any], Tensor]
    on_device: Callable[[], nn.Module]
    savings: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Method:
    """A search method. It either trains, by a `step`, or only scores, by `score`; the other one is None.

    The class of its settings is a frozen dataclass, whose annotations are checked as a recipe's are. `METHODS.add`
    lists a method; `dataclasses.replace` makes one whose scores live elsewhere.

    Example::

        from dataclasses import replace

        scales = replace(METHODS["joint"], name="scales", source=Scales)
        scales.settings_of({})  # Joint()
    """

    name: str
    settings: type[Any]
    step: Callable[[Iteration], Logs] | None = None
    """One iteration: updates weights and scores in place and returns the losses."""
    score: Callable[[Scoring], dict[str, Tensor]] | None = None
    """Scores {group: float32 [C]}, on the CPU."""
    networks: int = 0
    """How many weight sets it trains: 1 is `w`, 2 are `u` and `w`."""
    halves: bool = False
    """It takes a batch of each half of D, not one of D."""
    source: type[ScoreSource] | None = None
    """Where the scores of a method with a step live."""
    penalties: tuple[str, ...] | None = None
    """The penalties that its step applies; None: all that can act on its scores. See `takes`."""
    own_penalty: Callable[[Any], str] | None = None
    """By its settings: the name of the penalty that its step brings itself, weighed by gamma."""
    zeros: bool = False
    """The penalty of its own makes scores exactly zero."""
    batches: bool = True
    """It looks at training batches."""
    table_weight: str | None = None
    """The setting that, above 0, makes it read the run's latency table."""

    def __post_init__(self) -> None:
        training = self.step is not None
        if (
            training == (self.score is not None)
            or training != (self.networks in (1, 2))
            or training != bool(self.source)
        ):
            raise ValueError(
                f"method {self.name!r}: has either a step, 1 or 2 networks and a source, or a score; correct it"
            )

    @property
    def weight_sets(self) -> tuple[str, ...]:
        """The names of its weight sets."""
        return ("u", "w")[2 - self.networks :]

    def takes(self, penalty: PenaltyType) -> bool:
        """Whether its step applies `penalty` to the scores."""
        named = self.penalties is None or penalty.name in self.penalties
        return self.source is not None and named and (penalty.places is None or self.source.place in penalty.places)

    def penalised_by(self, settings: Any, penalty: PenaltyType) -> str | None:
        """The name of the penalty that acts in a run of these `settings` whose recipe names `penalty`; None: none."""
        if self.own_penalty is not None:
            return self.own_penalty(settings)
        return penalty.name if self.takes(penalty) else None

    def makes_zeros(self, penalty: PenaltyType, gamma: float) -> bool:
        """Whether scores can become exactly zero under `penalty`, weighed by `gamma`."""
        return gamma > 0 and (self.zeros or (self.takes(penalty) and penalty.zeros))

    def reads_table(self, settings: Any) -> bool:
        """Whether a run of these `settings` reads the latency table."""
        return self.table_weight is not None and getattr(settings, self.table_weight) > 0

    def settings_of(self, values: Mapping[str, Any]) -> Any:
        """Its settings from plain `values`; UserError for one that it does not have, and for wrong values."""
        known = {spec.name for spec in fields(self.settings)}
        if unknown := sorted(values.keys() - known):
            has = sorted(known) or "none"
            raise UserError(f"search.method.{unknown[0]}: {self.name} has no such parameter; it has {has}")
        return build_settings(self.settings, values, "search.method")

    def recorded(self, settings: Any) -> dict[str, Any]:
        """`settings`, defaults included, as a recipe has them."""
        return {"type": self.name, **asdict(settings)}


METHODS: Registry[Method] = Registry("compress.methods")
"""Recipe name -> method."""
DEFAULT = "rarts"
"""The method of a recipe that names none."""
