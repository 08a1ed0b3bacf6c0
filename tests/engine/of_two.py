"""What one of two processes does for test_several_processes.py: `python of_two.py RANK MEET OUT`.

OUT gets {name: values}; the asserts are in the test.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, distributed, nn

from compress.engine import averaging
from compress.engine.averaging import MeanGradients
from compress.engine.norms import average_statistics, shared_norms
from compress.engine.parallel import EqualScores, norms, wrapper
from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig, TrainConfig
from compress.engine.sharing import check_agreed
from compress.plan import UserError
from compress.search import METHODS, gradients_of
from compress.spaces import PreResNetSpace

SPACE = PreResNetSpace(11, 4)
TRAINED = [name for name, method in METHODS.items() if method.step is not None]
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"method": {"type": name}} for name in TRAINED},
    "fused": {"method": {"type": "rarts", "order": "fused"}},
    "accumulated": {"method": {"type": "joint"}, "accumulate": 2},
}


class Sent:
    """Counts what is sent, and remembers how many gradients had come by then."""

    def __init__(self) -> None:
        self.sizes, self.types, self.after, self.taken = [], [], [], 0
        self.all_reduce, self.take = distributed.all_reduce, averaging._Transfer.take

    def __enter__(self) -> Sent:
        def all_reduce(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
            self.sizes.append(tensor.numel())
            self.types.append(str(tensor.dtype))
            self.after.append(self.taken)
            return self.all_reduce(tensor, *arguments, **options)

        def take(transfer: Any, *arguments: Any) -> Tensor:
            self.taken += 1
            return self.take(transfer, *arguments)

        distributed.all_reduce, averaging._Transfer.take = all_reduce, take
        return self

    def __exit__(self, *_: object) -> None:
        distributed.all_reduce, averaging._Transfer.take = self.all_reduce, self.take

    def told(self) -> dict[str, list[Any]]:
        return {"sizes": self.sizes, "types": self.types, "after": self.after}


def gradients(rank: int) -> dict[str, Any]:
    """Two passes over a chain, the second in the order of the first; `unused` gets a gradient on one process alone."""
    averaging.FIRST_BYTES, averaging.BYTES = 64, 160
    chain = [nn.Parameter(torch.full((5, 4), 1.0 + i)) for i in range(4)]
    unused, never = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    last = nn.Parameter(torch.ones(2, 8, 3, 3).to(memory_format=torch.channels_last))
    found = {}
    for name, bf16 in (("float32", False), ("bf16", True)):
        mean = MeanGradients(bf16=bf16)
        for number in range(2):

            def loss() -> Tensor:
                x = torch.full((5, 4), 1.0 + 2 * rank)
                for p in chain:
                    x = x * p
                return x.sum() + (last * (1.0 + rank)).sum() + (unused.sum() if rank else 0)

            parameters = [*chain, unused, never, last]
            with Sent() as sent:
                means = mean(loss(), parameters)
            found[f"{name} {number}"] = {"means": means, "strides": [m.stride() for m in means], **sent.told()}
        found[f"{name} order"] = list(mean.buckets.values())
    averaging.FIRST_BYTES, averaging.BYTES = 1 << 20, 25 << 20
    return found


def batches(whole: bool, rank: int) -> dict[str, Any]:
    """Of both halves; the process's part of them, or all."""
    generator = torch.Generator().manual_seed(7)
    found = {}
    for half in "pa":
        images, labels = torch.randn(8, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(8) % 4
        own = slice(None) if whole else slice(rank, None, 2)
        found[half] = images[own], labels[own]
    return found


def searched(name: str, rank: int, *, whole: bool) -> dict[str, Any]:
    """A step or two of a search, on all images at once or on this process's."""
    torch.manual_seed(rank * (not whole))
    config = SearchConfig(epochs=2, batch_size=8, sync_bn=True, **SETTINGS[name])
    model = SearchModel(SPACE.build(), SPACE, config, input_size=(3, 8, 8)).double().train()
    # As the Runner does; wrapped, the model is that of the first process.
    wrapped = (
        {}
        if whole
        else {"wrapped": MODEL_WRAPPERS.build(wrapper("AveragedSearch", config), default_args={"module": model})}
    )
    step = wrapped.get("wrapped", model).train_step
    optimizers, parts = model.optimizers(), batches(whole, rank)
    sent = Sent()
    for number in range(2 if name == "rarts" else 1):
        torch.manual_seed(number)
        with sent, nullcontext() if whole else norms(model, config):
            step(parts if model.method.halves else parts["p"], optimizers)
    return {"state": model.state_dict(), "scores": model.scores(), "calls": len(sent.sizes)}


def normalised(rank: int) -> dict[str, Any]:
    """A BatchNorm on 3 and 5 images, and on all 8: outputs, gradients of a loss over all, statistics."""
    generator = torch.Generator().manual_seed(1)
    images, aim = (torch.randn(8, 6, 5, 5, generator=generator) for _ in range(2))
    images = 3 * images + 40
    found = {}
    for name, own in (("whole", slice(None)), ("own", slice(None, 3) if rank == 0 else slice(3, None))):
        norm = nn.BatchNorm2d(6, momentum=0.3)
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 6))
            norm.bias.copy_(torch.linspace(-1, 1, 6))
        x = images[own].clone().requires_grad_()
        if name == "own":
            with shared_norms(norm):
                out = norm(x)
        else:
            out = norm(x)
        grads = torch.autograd.grad(((out * aim[own]).sin()).sum(), [x, norm.weight, norm.bias])
        found[name] = {"out": out.detach(), "grads": grads, "state": norm.state_dict()}
        assert type(norm) is nn.BatchNorm2d
    return found


def statistics(rank: int) -> dict[str, Any]:
    """Running statistics of two norms that learn and one that is frozen."""
    norms = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    norms[2].eval()
    for i, norm in enumerate(norms):
        norm.running_mean.fill_(rank + 10 * i)
        norm.running_var.fill_(4.0 * rank + i)
    average_statistics(norms)
    return norms.state_dict()


def trained(rank: int, *, bf16: bool = False, idle: bool = False) -> dict[str, Any]:
    """The gradients of one step of plain training; `idle`: what is said of a layer that the loss does not know."""
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    if idle:
        net.layer = nn.Linear(2, 2)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.norm = net, nn.BatchNorm1d(2, affine=False)
            self.data_preprocessor = lambda data, training: data

        def forward(self, x: Tensor, mode: str) -> dict[str, Tensor]:
            self.norm(torch.rand(3, 2))
            return {"loss": self.net(x).square().mean()}

        def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            return losses["loss"], losses

    from mmengine.optim import OptimWrapper

    config = TrainConfig(epochs=1, all_reduce="bf16" if bf16 else None)
    model = MODEL_WRAPPERS.build(wrapper("AveragedTraining", config), default_args={"module": Model()})
    optimizer = OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.5))
    start = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    drawn = torch.rand(7)[6:]
    torch.manual_seed(4)
    try:
        model.train_step([images[rank : rank + 1]], optimizer)
    except UserError as error:
        return {"said": str(error)}
    loss = (
        nn.functional.linear(images, start["weight"].requires_grad_(), start["bias"].requires_grad_()).square().mean()
    )
    expected = gradients_of(loss, [start["weight"], start["bias"]])
    moved = [(start[name].detach() - value) / 0.5 for name, value in net.state_dict().items()]
    return {
        "values": {"found": moved, "expected": expected},
        "once": [
            int(model.module.norm.num_batches_tracked),
            torch.equal(torch.rand(1), drawn),
            model.reducer._rebuild_buckets(),
        ],
    }


def evaluated(rank: int) -> list[Tensor]:
    """Outputs of a norm without running statistics, on one batch of the first process and two of the second."""
    norm = nn.BatchNorm2d(2, track_running_stats=False).eval()
    with shared_norms(norm):
        return [norm(torch.full((1, 2, 1, 2), float(i)) + torch.tensor([0.0, 1.0])) for i in range(1 + rank)]


def agreed(rank: int) -> list[str]:
    """What is said of equal and of unequal values."""
    found = []
    for value in ("same", f"own {rank}"):
        try:
            check_agreed(value, "not alike")
            found.append("")
        except UserError as error:
            found.append(str(error))
    return found


def unequal(rank: int) -> str:
    """What a process is told whose scores are not the others'."""
    model = SearchModel(SPACE.build(), SPACE, SearchConfig(epochs=1), input_size=(3, 8, 8))
    runner: Any = type("Runner", (), {"epoch": 4})()
    EqualScores(model).after_train_epoch(runner)
    with torch.no_grad():
        model.source["layer2.0.conv1"][3] += 1e-6 * rank
    try:
        EqualScores(model).after_train_epoch(runner)
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    torch.set_num_threads(1)
    rank, meet, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    found = {
        "gradients": gradients(rank),
        "normalised": normalised(rank),
        "statistics": statistics(rank),
        "trained": {name: trained(rank, bf16=name == "bf16") for name in ("float32", "bf16")},
        "idle": trained(rank, idle=True)["said"],
        "evaluated": evaluated(rank),
        "agreed": agreed(rank),
        "unequal": unequal(rank),
        "searched": {name: searched(name, rank, whole=False) for name in SETTINGS},
    }
    if rank == 0:
        found["alone"] = {name: searched(name, 0, whole=True) for name in SETTINGS}
    torch.save(found, out)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
