"""`compress.prune`: any network in Python, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ..costs import macs, params
from ..pipeline.checks import check_budget
from ..plan import Seed, check_figures, scratch, speaking, storing
from ..plan.settings import convert
from ..pruning import STEPS
from ..report.progress import TerminalProgress
from ..search import DEFAULT
from ..spaces import Card, own_surroundings, sizes
from .arguments import (
    BATCH,
    WORDS,
    Ignored,
    Limits,
    budget_of,
    finetune_settings,
    free_folder,
    names_of,
    select_config,
    select_section,
)
from .data import Data, Loss
from .result import Pruned
from .rounds import Rounds
from .subject import Subject

FINITE = "look for numbers in the data that are not finite, or lower the rates of search and fine-tuning"


@own_surroundings()
@speaking(WORDS)
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
    ignored_layers: Ignored = (),
    streams: bool = True,
    round_to: Literal["auto"] | int = "auto",
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
        round_to: widths become multiples of it; other widths often cost more time than their MACs save. "auto": of what
            ONNX Runtime takes at once on this machine, or in narrow layers, where the budget needs it, a half or a
            quarter of that.
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
    limit, section, seed = budget_of(budget, pruning_ratio), select_section(round_to), convert(seed, Seed, "seed")
    folder = None if work_dir is None else free_folder(work_dir)
    validation = None if val_data is None else Data.of(val_data, name="val_data", batch_size=BATCH)
    subject = Subject.of(
        model,
        example_input,
        train_data,
        method=method,
        loss=loss,
        ignored_layers=ignored_layers,
        streams=streams,
        search=search,
        validation=validation,
    )
    space, task = subject.space, subject.task
    tuning, names = finetune_settings(finetune, task.data), names_of(classes, space.num_classes)
    check_budget(subject.search, limit)
    select = select_config(section, space, task.input_size, limit)
    subject.check_learning(tuning)
    with scratch() as temporary, TerminalProgress(quiet=quiet) as progress:
        rounds = Rounds(
            network=subject.network,
            space=space,
            task=task,
            validation=validation,
            search=subject.search,
            finetune=tuning,
            limit=limit,
            select=select,
            folder=folder or temporary,
            seed=seed,
            progress=progress,
        )
        result = _pruned(rounds, steps, names, subject.left)
    if folder is not None:
        result.save(folder)
    return result


def _pruned(rounds: Rounds, steps: int, names: tuple[str, ...], left_alone: Mapping[str, str]) -> Pruned:
    """What `steps` of `rounds` leave, beside the network that they began with."""
    space, size = rounds.space, rounds.task.input_size
    operators = space.operators(size)

    def costs(widths: Mapping[str, int], network: nn.Module, when: str) -> dict[str, float]:
        figures = rounds.figures(network)
        check_figures(f"val_data: {when} pruning", figures, remedy=FINITE)
        return {"params": params(operators, widths), "macs": macs(operators, widths), **figures}

    before = costs(sizes(space.groups), rounds.network, "before")
    with storing(rounds.folder):
        rounds.folder.mkdir(parents=True, exist_ok=True)
    left = rounds.prune(steps)
    return Pruned(
        after=costs(left.plan.widths, left.network, "after"),
        model=left.network.cpu().eval(),
        plan=left.plan,
        before=before,
        scores=left.scores,
        left=left_alone,
        space=left.space,
        card=Card(space.name, left.space.arch, names, {"input_size": list(size)}),
    )
