"""Networks to time: weights do not matter, but what they make of images does, because tiny numbers are slow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..export import INPUT_NAME
from ..plan import WidthPlan
from ..pruning import slice_model
from ..spaces import Space, sizes
from .backends import Backend, Network
from .graphs import WidthGraphs

NOISE = 0.02
TOLERANCE = 1e-4


class WidthNetworks:
    """The networks of `space` at any widths as `backend` takes them, with random weights.

    What of them is timed is `Space.timed`. Files are written to `folder`, cut from one export. The first of them is
    compared with the sliced network on `images` [B, C, H, W], of the size `input_size` (C, H, W): RuntimeError when it
    computes something else.

    Example::

        networks = WidthNetworks(space, (3, 32, 32), folder, backend=backend, images=images)
        backend.open(networks.at({"layer2.0.conv1": 24}))
    """

    def __init__(
        self, space: Space, input_size: tuple[int, int, int], folder: Path, *, backend: Backend, images: Tensor
    ) -> None:
        self.space, self.folder, self.images, self.input_size = space, folder, images, input_size
        self.sizes = sizes(space.groups)
        self.model = timing_network(space, input_size)
        self.graphs: WidthGraphs | None = None
        self.unpruned: Network = space.timed(self.model, input_size)
        self._checked = False
        if backend.takes == "onnx":
            self.graphs = WidthGraphs(self.model, space, input_size=input_size)
            self.unpruned = self._written("unpruned", {}, self.graphs)

    def at(self, widths: Mapping[str, int]) -> Network:
        """The network at `widths`, {group: channels}; all others keep theirs. It stands in for the one before."""
        if self.graphs is None:
            return self.space.timed(sliced_network(self.model, self.space, widths), self.input_size)
        if not self._checked:
            check_graphs(self.graphs, self.model, self.space, widths, self.images)
            self._checked = True
        return self._written("sliced", widths, self.graphs)

    def _written(self, name: str, widths: Mapping[str, int], graphs: WidthGraphs) -> Path:
        path = self.folder / f"{name}.onnx"
        path.write_bytes(graphs.at(widths))
        return path


def timing_network(space: Space, input_size: tuple[int, int, int], *, seed: int = 0) -> nn.Module:
    """A network of `space` with random weights, in evaluation mode, whose feature maps have the scale of trained ones.

    No two parameters are equal, as in trained networks, so that the exporter merges none. BatchNorms take their
    statistics from random images: features that shrink from layer to layer would end as denormal numbers, which
    processors add up many times more slowly.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of GPUs too
        model = space.build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(NOISE * torch.randn_like(parameter))
            for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.momentum = None  # statistics of the images below alone
                norm.reset_running_stats()
            if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
                model.train()(torch.randn(4, *input_size))
    return model.eval()


def sliced_network(model: nn.Module, space: Space, widths: Mapping[str, int]) -> nn.Module:
    """The network `model` of `space` cut to its first `widths` {group: channels}; all other groups keep theirs."""
    full = sizes(space.groups)
    plan = WidthPlan(space.name, full, {name: tuple(range(widths.get(name, n))) for name, n in full.items()})
    return slice_model(model, space, plan)[0]


def check_graphs(
    graphs: WidthGraphs, model: nn.Module, space: Space, widths: Mapping[str, int], images: Tensor
) -> float:
    """Compare the graph of `model` at `widths` with `slice_model`'s network on `images` [B, C, H, W].

    Returns the largest difference over the largest output; RuntimeError when it exceeds 1e-4.
    """
    import onnxruntime as ort

    small = space.timed(sliced_network(model, space, widths), (images.shape[1], images.shape[2], images.shape[3]))
    with torch.inference_mode():
        wanted = small(images)
    session = ort.InferenceSession(graphs.at(widths), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {INPUT_NAME: images.numpy()})
    difference = float((torch.from_numpy(given) - wanted).abs().max() / wanted.abs().max())
    if not difference <= TOLERANCE:  # NaN fails too
        raise RuntimeError(f"{space.name}: the sliced graph differs from the sliced network by {difference:.2g}")
    return difference
