"""Arguments in Python: what they must be, and the settings that they are for the rooms below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..engine.settings import FinetuneConfig, SearchConfig, method_of
from ..measure.blocks import block_of
from ..plan import Count, UserError, brief, build_settings, check_output_folder, path_of
from ..plan.backends import BACKENDS, FIRST
from ..plan.budget_kinds import BUDGETS
from ..plan.errors import FAULTS, reason
from ..plan.settings import convert
from ..pruning import Budget, SelectConfig, SelectSection, check_reachable, config_for
from ..spaces import GIVEN, LiveSpace, Space, blocks_of, check_returned, copied, kind_of, sizes
from ..tracing import Groups, groups_of
from .data import Data

Limits = Budget | Mapping[str, float] | None
Ignored = Sequence[str | type[nn.Module] | nn.Module]
RoundTo = Literal["auto"] | Count

SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
SEARCH: dict[str, Any] = {
    "epochs": 5,
    "gamma": 0.03,
    "optimizer": SGD,
    "alpha_optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
}
FINETUNE: dict[str, Any] = {"epochs": 10, "optimizer": SGD}
BATCH = 64

COSTS = tuple(kind.name for kind in BUDGETS.values() if kind.cost not in (None, "latency"))
"""Keys of `budget`; latency wants a table, which a recipe has."""

WORDS = {
    **{f"{cost}_ratio": f'budget["{cost}_ratio"]' for cost in ("macs", "params")},
    "select.floor or select.round_to": "round_to",
    "select.floor": "round_to",
    "select.round_to": "round_to",
    "search.method.type": "method",
    "search.method": "method",
    "start again in a new --work-dir": "call again",
    "in a new --work-dir": "in another call",
    "is kept, from which --resume goes on": "was the last good one",
    "another --checkpoint": "another model",
}
"""What recipes and commands call one thing and Python another."""


def image_of(x: Any) -> Tensor:
    """`example_input`; UserError unless it is a batch of images, float32 [B, C, H, W]."""
    fits = isinstance(x, Tensor) and x.dim() == 4 and x.dtype == torch.float32
    if not fits or x.is_meta or not x.numel():
        given = f"{brief(tuple(x.shape))} of {x.dtype}" if isinstance(x, Tensor) else kind_of(x)
        raise UserError(
            f"example_input = {given}: must be images [B, C, H, W] of torch.float32, with values and none of these 0; "
            "for example torch.randn(1, 3, 224, 224)"
        )
    return x


def budget_of(budget: Limits, pruning_ratio: float | None) -> Budget:
    """The limits that the two arguments are; UserError where both are given, or a limit of time, or none is known."""
    if budget is not None and pruning_ratio is not None:
        raise UserError(f"pruning_ratio = {pruning_ratio}: is a budget too; give one of them")
    if pruning_ratio is not None:
        return Budget("pruning_ratio", pruning_ratio)
    if not isinstance(budget, Budget | Mapping | None):
        raise UserError(f'budget = {brief(budget)}: must say of what; for example {{"macs_ratio": 0.5}}')
    limits = budget.items() if isinstance(budget, Mapping) else ()
    if odd := [kind for kind, _ in limits if kind not in BUDGETS]:
        raise UserError(f"budget = {brief(budget)}: {odd[0]!r} is no cost; choose of {', '.join(map(repr, COSTS))}")
    limit = budget if isinstance(budget, Budget) else Budget.of(*(Budget(kind, value) for kind, value in limits))
    if limit.latency is not None:
        raise UserError("budget: a limit of latency needs the device's table; use a recipe and `nncompress prune`")
    return limit


def select_section(round_to: RoundTo) -> SelectSection:
    """Widths that are multiples of `round_to`, or of what the engine takes."""
    round_to = convert(round_to, RoundTo, "round_to")
    return SelectSection(round_to=round_to, floor=8 if round_to == "auto" else min(round_to, 8), gain="balanced")


def select_config(
    section: SelectSection, space: Space, input_size: tuple[int, int, int], limit: Budget
) -> SelectConfig:
    """`section` with a number in place of "auto": ONNX Runtime's on this machine, which exported files are made for.

    Raises UserError for a budget that no allowed widths meet.
    """
    block = block_of(BACKENDS.need("backend", FIRST).blocks, {group.kind for group in space.groups})
    config = config_for(space, limit, section, block, input_size=input_size)
    operators, blocks = space.operators(input_size), blocks_of(space.groups)
    check_reachable(sizes(space.groups), operators, limit, config, blocks=blocks)
    return config


def search_settings(
    method: str | Mapping[str, Any], given: Mapping[str, Any] | None, data: Data | None
) -> SearchConfig:
    """The settings of a search on `data`; UserError for a method that needs data where there are none."""
    if not isinstance(method, str) and not (isinstance(method, Mapping) and "type" in method):
        raise UserError(
            f'method = {brief(method)}: must be the name of a method, or {{"type": its name, and settings of it}}; for '
            "example 'magnitude'"
        )
    named = {"type": method} if isinstance(method, str) else dict(method)
    batch_size = BATCH if data is None else data.batch_size
    values = {**SEARCH, "method": named, "batch_size": batch_size, **_section(given, "search")}
    config = build_settings(SearchConfig, values, "search")
    if data is None and method_of(config).batches:
        raise UserError(
            f"method = {named['type']!r}: learns from data; give train_data, or a method that needs none: 'magnitude' "
            "or 'random'"
        )
    return config


def finetune_settings(
    given: Mapping[str, Any] | int | Literal[False] | None, data: Data | None
) -> FinetuneConfig | None:
    """The settings of the fine-tuning on `data`; None: there is none."""
    if given is False or (given is None and data is None):
        return None
    if data is None:
        raise UserError(f"finetune = {brief(given)}: needs train_data; give it, or finetune=False")
    whole = isinstance(given, int) and not isinstance(given, bool)
    more = {"epochs": given} if whole else _section(given, "finetune")
    return build_settings(FinetuneConfig, {**FINETUNE, "batch_size": data.batch_size, **more}, "finetune")


def _section(given: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping | None):
        raise UserError(f'{name} = {brief(given)}: must be a dict of settings; for example {{"epochs": 5}}')
    return given or {}


def space_of(
    model: nn.Module, x: Tensor, ignored: Ignored, *, streams: bool, labelled: bool
) -> tuple[LiveSpace, Groups]:
    """The space of a live network, and what was found of it.

    Raises UserError where nothing can be pruned, and where images and labels (`labelled`) cannot be its batches.
    """
    found = groups_of(model, x, ignored_layers=ignored, streams=streams)
    if not found.groups:
        raise UserError(f"model = {kind_of(model)}: {found.reasons}; give another network, or ignore fewer layers")
    fresh = copied(model).cpu()
    check_returned(fresh, source=f"model = {kind_of(model)}")
    try:
        with torch.no_grad():
            outputs = fresh.eval()(x.detach().cpu())
    except FAULTS as error:  # not in float64, in which groups are verified
        raise UserError(
            f"model = {kind_of(model)}: does not take example_input in float32 ({reason(error)}); give model.float()"
        ) from error
    logits = isinstance(outputs, Tensor) and outputs.dim() == 2
    if labelled and not logits:
        given = f"outputs {list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {kind_of(outputs)}"
        raise UserError(
            f"model = {kind_of(model)}: gives {given}; cross entropy wants logits [B, classes]; give loss, a function "
            "of (network, batch)"
        )
    if labelled and outputs.shape[1] == 1:
        raise UserError(
            f"model = {kind_of(model)}: gives one output, of which cross entropy is always 0; give loss, a function of "
            "(network, batch), such as one of binary_cross_entropy_with_logits or mse_loss"
        )
    space = LiveSpace(
        num_classes=outputs.shape[1] if logits else 1,
        model=GIVEN,
        in_channels=x.shape[1],
        found=found.to_json(),
        make=partial(copied, fresh),
    )
    return space, found


def names_of(classes: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """Names of the `n` outputs: their numbers where none are given."""
    if isinstance(classes, str) or not isinstance(classes, Sequence | None):
        raise UserError(f"classes = {brief(classes)}: must be a list of names, one for each of the {n} outputs")
    names = tuple(map(str, classes if classes is not None else range(n)))
    if len(names) != n:
        raise UserError(f"classes: {len(names)} names for a network of {n} outputs; give one each")
    return names


def free_folder(work_dir: str | Path) -> Path:
    """`work_dir`, which is made later; UserError where files cannot be written into it, or where there are some."""
    folder = path_of("work_dir", work_dir)
    check_output_folder("work_dir =", folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"work_dir = {str(folder)!r}: is not empty; give a new folder")
    return folder.absolute()  # a data set may change the working directory
