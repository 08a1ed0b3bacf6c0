"""`compress.prune`: any network in Python, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..costs import macs, params
from ..engine.settings import FinetuneConfig, SearchConfig, method_of
from ..plan import UserError, brief, build_settings, scratch
from ..pruning import STEPS, Budget, SelectConfig, check_reachable
from ..report.progress import TerminalProgress
from ..search import DEFAULT
from ..spaces import GIVEN, Card, LiveSpace, sizes
from ..tracing import Groups, groups_of
from .data import Data, DataTask, Loss
from .result import Pruned
from .rounds import Rounds

Limits = Budget | Mapping[str, float] | None

SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
SEARCH: dict[str, Any] = {
    "epochs": 5,
    "gamma": 0.03,
    "optimizer": SGD,
    "alpha_optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
}
FINETUNE: dict[str, Any] = {"epochs": 10, "optimizer": SGD}
BATCH = 64


def prune(
    model: nn.Module,
    example_input: Tensor,
    train_data: Any = None,
    *,
    budget: Limits = None,
    pruning_ratio: float | None = None,
    method: str | Mapping[str, Any] = DEFAULT,
    val_data: Any = None,
    loss: Loss | None = None,
    ignored_layers: Sequence[str | type[nn.Module] | nn.Module] = (),
    streams: bool = True,
    round_to: int = 8,
    steps: int = 1,
    search: Mapping[str, Any] | None = None,
    finetune: Mapping[str, Any] | int | Literal[False] | None = None,
    classes: Sequence[str] | None = None,
    work_dir: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Pruned:
    """A smaller network out of `model` (unchanged): search, selection under a budget, slicing, fine-tuning.

    Args:
        model: any network of layers that PyTorch can differentiate.
        example_input: [B, C, H, W]; its shape is what the network is made for.
        train_data: a DataLoader or a data set of (image, label); of anything, with `loss`. Of a DataLoader its data
            set, batch size, workers and collation are taken, not its order. None for methods that need none
            (`magnitude`, `random`), without fine-tuning.
        budget: `{"macs_ratio": 0.5}`, `{"params_ratio": 0.4}`, or both; a Budget; None: channels whose scores are zero.
        pruning_ratio: share of the channels to remove, in place of `budget`.
        method: name of a method, or {"type": name, and its settings}.
        val_data: as `train_data`; what accuracies are measured on.
        loss: (network, batch) -> scalar, in place of cross entropy.
        ignored_layers: modules, their names or their types that keep all their channels.
        streams: residual streams are pruned too.
        round_to: widths become multiples of it; other widths often cost more time than their MACs save.
        steps: rounds of search, slicing and short fine-tuning on the way to the budget; each prunes the same share.
        search: settings of the search (`SearchConfig`), such as {"epochs": 5, "gamma": 0.03}.
        finetune: settings of the fine-tuning (`FinetuneConfig`), its number of epochs, or False; None: 10 epochs where
            there are data.
        classes: names of the outputs, for the card.
        work_dir: folder to keep the training's files and the result in; None: nothing is kept.
        seed: of all that is random.
        quiet: show no progress.

    Raises UserError for what cannot be pruned, and for arguments that do not go together.

    Example::

        pruned = prune(net, torch.randn(1, 3, 32, 32), train_set, budget={"macs_ratio": 0.5}, val_data=val_set)
        print(pruned.report())
        pruned.save("small")
    """
    STEPS.check("steps", steps, whole=True)
    x = _image(example_input)
    limit = _budget(budget, pruning_ratio)
    data, validation = _data(train_data, "train_data"), _data(val_data, "val_data")
    config, tuning = _search_settings(method, search, data), _finetune_settings(finetune, data)
    space, found = _space(model, x, ignored_layers, streams=streams)
    names = _names(classes, space.num_classes)
    select = SelectConfig(round_to=round_to, floor=min(round_to, 8))
    task = DataTask(data, (x.shape[1], x.shape[2], x.shape[3]), loss)
    check_reachable(sizes(space.groups), space.operators(task.input_size), limit, select)
    with scratch() as temporary, TerminalProgress(quiet=quiet) as progress:
        rounds = Rounds(
            network=deepcopy(model).cpu(),
            space=space,
            task=task,
            validation=validation,
            search=config,
            finetune=tuning,
            limit=limit,
            select=select,
            folder=temporary if work_dir is None else _folder(work_dir),
            seed=seed,
            progress=progress,
        )
        result = _pruned(rounds, steps, names, found.left)
    if work_dir is not None:
        result.save(work_dir)
    return result


def _pruned(rounds: Rounds, steps: int, names: tuple[str, ...], left_alone: Mapping[str, str]) -> Pruned:
    """What `steps` of `rounds` leave, beside the network that they began with."""
    space, size = rounds.space, rounds.task.input_size
    operators = space.operators(size)

    def costs(widths: Mapping[str, int], figures: Mapping[str, float]) -> dict[str, float]:
        return {"params": params(operators, widths), "macs": macs(operators, widths), **figures}

    before = costs(sizes(space.groups), rounds.figures(rounds.network))
    left = rounds.prune(steps)
    return Pruned(
        after=costs(left.plan.widths, rounds.figures(left.network)),
        model=left.network.cpu().eval(),
        plan=left.plan,
        before=before,
        scores=left.scores,
        left=left_alone,
        space=left.space,
        card=Card(space.name, left.space.arch, names, {"input_size": list(size)}),
    )


def _data(given: Any, name: str) -> Data | None:
    return None if given is None else Data.of(given, name=name, batch_size=BATCH)


def _image(x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise UserError(
            f"example_input = {brief(getattr(x, 'shape', type(x).__name__))}: must be a tensor of images [B, C, H, W]; "
            "for example torch.randn(1, 3, 224, 224)"
        )
    return x


def _budget(budget: Limits, pruning_ratio: float | None) -> Budget:
    if budget is not None and pruning_ratio is not None:
        raise UserError(f"pruning_ratio = {pruning_ratio}: is a budget too; give one of them")
    if pruning_ratio is not None:
        return Budget("pruning_ratio", pruning_ratio)
    if isinstance(budget, Budget):
        return budget
    if budget is not None and not isinstance(budget, Mapping):
        raise UserError(f'budget = {brief(budget)}: must say of what; for example {{"macs_ratio": {brief(budget)}}}')
    limit = Budget.of(*(Budget(kind, value) for kind, value in (budget or {}).items()))
    if limit.latency is not None:
        raise UserError("budget: a limit of latency needs the device's table; use a recipe and `nncompress prune`")
    return limit


def _search_settings(
    method: str | Mapping[str, Any], given: Mapping[str, Any] | None, data: Data | None
) -> SearchConfig:
    named = {"type": method} if isinstance(method, str) else dict(method)
    batch_size = BATCH if data is None else data.batch_size
    values = {**SEARCH, "method": named, "batch_size": batch_size, **(given or {})}
    config = build_settings(SearchConfig, values, "search")
    if data is None and method_of(config).batches:
        raise UserError(
            f"method = {named['type']!r}: learns from data; give train_data, or a method that needs none: 'magnitude' "
            "or 'random'"
        )
    return config


def _finetune_settings(
    given: Mapping[str, Any] | int | Literal[False] | None, data: Data | None
) -> FinetuneConfig | None:
    if given is False or (given is None and data is None):
        return None
    if data is None:
        raise UserError(f"finetune = {brief(given)}: needs train_data; give it, or finetune=False")
    more = {"epochs": given} if isinstance(given, int) else dict(given or {})
    return build_settings(FinetuneConfig, {**FINETUNE, "batch_size": data.batch_size, **more}, "finetune")


def _space(
    model: nn.Module, x: Tensor, ignored: Sequence[str | type[nn.Module] | nn.Module], *, streams: bool
) -> tuple[LiveSpace, Groups]:
    found = groups_of(model, x, ignored_layers=ignored, streams=streams)
    if not found.groups:
        some = "; ".join(f"{name}: {reason}" for name, reason in list(found.left.items())[:3])
        raise UserError(f"model = {type(model).__name__}: no channels of it can be pruned exactly ({some})")
    fresh = deepcopy(model).cpu()
    with torch.no_grad():
        outputs = fresh.eval()(x.cpu())
    n = outputs.shape[1] if isinstance(outputs, Tensor) and outputs.dim() == 2 else 1
    space = LiveSpace(
        num_classes=n,
        model=GIVEN,
        in_channels=x.shape[1],
        found=found.to_json(),
        make=lambda: deepcopy(fresh),
    )
    return space, found


def _folder(work_dir: str | Path) -> Path:
    folder = Path(work_dir)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"work_dir = {str(folder)!r}: is not empty; give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _names(classes: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """Names of the `n` outputs: their numbers where none are given."""
    names = tuple(map(str, classes if classes is not None else range(n)))
    if len(names) != n:
        raise UserError(f"classes: {len(names)} names for a network of {n} outputs; give one each")
    return names
