"""What a backend is: one object that opens networks, times them in turn and, where it can, tells every layer's time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from ..blocks import UNKNOWN, Blocks

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ...spaces import Space
    from ..session import Session

Network: TypeAlias = "nn.Module | Path"
"""What a backend opens: a module, or a file of a kind that it reads."""


class Times(NamedTuple):
    """`samples_ms`: {network: milliseconds of a call}, of the same index taken next to each other; `seconds`: {network:
    what it took to open it}."""

    samples_ms: dict[str, list[float]]
    seconds: dict[str, float]


class Backend(ABC):
    """Something that runs networks.

    A subclass says what it is and how it opens a network; its one object is registered under `name`, in
    `compress.plan.backends` or as an entry point of the group `compress.backends`. Importing its module must not
    import what it runs networks with: reports and `--help` ask for `label` alone.

    `name`: in recipes and files. `label`: in reports. `takes`: how networks are handed to it to be timed, as modules or
    as ONNX files. `packages`: those whose versions decide what runs, and how. `alias`: a short name on the command
    line. `suffix`: of files that are this backend's own, which it opens unasked. `compiles`: whether opening takes
    seconds to minutes, which are then told beside the times. `blocks`: of how many channels widths are best multiples.

    Example::

        class Reference(Backend):
            name, label, takes, packages = "reference", "ONNX reference", "onnx", ("onnx",)

            def open(self, network, *, threads=1, batch=1, trust=False):
                evaluator = ReferenceEvaluator(network)
                return Session(network, self.name, lambda images: partial(evaluator.run, None, {"images": images}))
    """

    name: str
    label: str
    takes: Literal["module", "onnx"]
    packages: tuple[str, ...] = ()
    alias: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    compiles: ClassVar[bool] = False
    blocks: ClassVar[Blocks] = UNKNOWN

    def missing(self) -> str | None:
        """What is not here that this backend needs, to be read behind its name; None where it can run.

        Example::

            BACKENDS.find("tensorrt").missing()  # 'needs an NVIDIA GPU with driver, and here is none'
        """
        return None

    def owns(self, path: Path) -> bool:
        """Whether the file `path` is this backend's own; UserError where that is asked of a broken file."""
        return bool(self.suffix) and path.suffix == self.suffix

    @abstractmethod
    def open(self, network: Network, *, threads: int = 1, batch: int = 1, trust: bool = False) -> Session:
        """Open `network`; UserError where that cannot be.

        Args:
            network: a module, or the path of a file.
            threads: of one call.
            batch: images of one call.
            trust: let a file bring code that runs.
        """

    def time(
        self,
        networks: Mapping[str, Network],
        images: Tensor,
        *,
        threads: int,
        repeats: int,
        inner: int = 0,
        min_sample_ms: float = 2.0,
        warmup_seconds: float = 0.25,
    ) -> Times:
        """Open `networks` in their order and time their calls on `images` in turn, as `interleaved` does.

        A backend whose networks run elsewhere takes their times there, in its own way. PyTorch's number of threads
        has been set by the caller.

        Args:
            networks: name -> module, or path of a file.
            images: float32 [B, C, H, W] of one call.
            threads: of one call.
            repeats, inner, min_sample_ms, warmup_seconds: as `interleaved` takes them.
        """
        import torch

        from ..timing import interleaved

        calls, seconds = {}, {}
        with torch.inference_mode():
            for name, network in networks.items():
                started = time.perf_counter()
                calls[name] = self.open(network, threads=threads, batch=len(images)).bind(images)
                seconds[name] = round(time.perf_counter() - started, 2)
            samples = interleaved(
                calls, repeats=repeats, inner=inner, min_sample_ms=min_sample_ms, warmup_seconds=warmup_seconds
            )
        return Times(samples, seconds)

    def facts(self) -> dict[str, Any]:
        """What else a record of its times tells: the device, where that is not this processor."""
        return {}


class LayerTimes(Protocol):
    """A network whose calls are timed layer by layer.

    Times are those of regions: an operator's name, or, where an engine runs several as one layer, the `region` of them.
    `nodes`: {region: number of pieces that run for it}.
    """

    nodes: Mapping[str, int]

    def call(self) -> object:
        """Call the network once."""

    def finish(self, calls: int) -> dict[str, float]:
        """{region: time per call} in the last `calls` calls, in any unit; nothing is called afterwards."""


class LayerBackend(Backend):
    """A backend that tells what every layer takes inside a whole network: latency tables can be made of that.

    `by_layers`: they are, where no way is asked for.
    """

    by_layers: ClassVar[bool] = True

    @abstractmethod
    def profile(
        self, network: Network, images: Tensor, *, threads: int, space: Space, operators: Collection[str]
    ) -> LayerTimes:
        """Open `network`, to be called and timed by its operators.

        In an ONNX file the nodes' names tell operators (`owners.owner_of`); a layer of several is their `region`.

        Args:
            network: a module of `space`, or the path of its file.
            images: float32 [B, C, H, W] of one call.
            threads: of one call.
            space: the network's.
            operators: the names of the space's.
        """


def opens_at_once(backend: Backend) -> bool:
    """Whether hundreds of networks can be opened and timed with `backend`, as tables of cells do."""
    return not backend.compiles


def tells_layers(backend: Backend) -> bool:
    """Whether latency tables can be made with `backend`."""
    return isinstance(backend, LayerBackend)
