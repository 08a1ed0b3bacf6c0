"""One seed of a comparison by protocol: the unpruned network, what every method makes of it, and its figures."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _harness import ROOT, alone
from _protocol import digest, figures_of, settings_hash
from _searched import Searched, key_of
from _torch_pruning import MEASUREMENTS, REPEATS, WITHIN, at_latency, at_macs, cutter, regularised

SESSIONS = 3
"""Pairs of sessions a measurement: where a session's memory lies makes it up to 3 % faster or slower."""
KINDS = {"macs": "macs_ratio", "latency": "macs_ratio", "pruned": "pruning_ratio"}
"""What a budget such as `macs-0.5` is to the selection, which finds one of latency among those of MACs."""


@dataclass
class Rival:
    """Everything that is pruned with one seed: data, the baseline, what has been searched already.

    `work` keeps the baselines that comparisons train; a foreign `checkpoint` needs none. Test images are what
    `figures` judges by, unless a share `holdout` of the training images is.
    """

    protocol: dict[str, Any]
    root: str
    checkpoint: str | None
    work: Path
    seed: int
    holdout: float

    @cached_property
    def searched(self) -> Searched:
        """What methods have searched for with this seed, on disk too."""
        folder = self.work.parent / "searched" / f"{settings_hash(self.protocol)[:12]}"
        return Searched(folder / f"{self.seed} holdout {self.holdout:g}")

    @cached_property
    def data(self) -> Any:
        """Training images, and what is judged on: test images, or those set aside."""
        from compress.engine.data import DataConfig, load_data

        config = DataConfig(root=self.root, holdout=self.holdout, **self.protocol["data"])
        return load_data(config, seed=self.seed)

    @cached_property
    def task(self) -> Any:
        """What searches train for."""
        from compress.engine.tasks import Classification

        return Classification(self.data)

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        side = self.protocol["data"]["input_size"]
        return (3, side, side)

    @cached_property
    def baseline(self) -> tuple[Any, Any]:
        """The trained network and its space: the comparison's own of this seed, or a foreign checkpoint's."""
        return self.trained() if "baseline" in self.protocol else self.foreign()

    @property
    def stem(self) -> Path:
        """Of the files of the comparison's own baseline, which all of the same training share."""
        return self.work / f"baseline {self.seed} holdout {self.holdout:g} {digest(self.made_from)[:12]}"

    @property
    def made_from(self) -> dict[str, Any]:
        """What the comparison's own baseline depends on, beside its seed and the images set aside."""
        return {key: self.protocol[key] for key in ("space", "baseline", "data")}

    def train_baseline(self) -> None:
        """Train the unpruned network of this seed, unless its files are there, or another job trains it.

        A training that was stopped goes on with its last whole epoch.
        """
        with alone(self.stem.with_name(f"{self.stem.name}.json")) as missing:
            if missing:
                self._train_baseline()

    def _train_baseline(self) -> None:
        import torch

        from compress.engine.settings import TrainConfig
        from compress.plan import build_settings
        from compress.spaces import Card, save_model

        torch.manual_seed(self.seed)
        space = self.fresh_space()
        network = space.build()
        config = build_settings(TrainConfig, self.protocol["baseline"], "baseline")
        started = self.stem.with_name(f"{self.stem.name} started")
        with self.job("train", "baseline", folder=started) as job:
            self.fit(network, config, job)
        save_model(self.stem, network, Card(space.name, space.arch, self.data.classes, {"input_size": self.size}))
        shutil.rmtree(started)

    def fresh_space(self) -> Any:
        """Of the comparison's own unpruned network."""
        from compress.spaces import make_space

        own = dict(self.protocol["space"])
        return make_space(own.pop("type"), {**own, "num_classes": len(self.data.classes)})

    def fit(self, network: Any, config: Any, job: Any, *, teacher: Any = None) -> None:
        """Train in place on the training images."""
        from compress.engine.training import train

        train(network, self.data.train, config, job, evaluate=lambda _: {}, teacher=teacher)

    def trained(self) -> tuple[Any, Any]:
        """The comparison's own baseline; UserError before it is trained."""
        from compress.plan import UserError
        from compress.spaces import load_model

        if not self.stem.with_name(f"{self.stem.name}.json").exists():
            raise UserError(f"{self.stem.name}: is not trained yet; run --train first, which all methods share")
        network, space, _ = load_model(self.stem)
        return network, space

    def foreign(self) -> tuple[Any, Any]:
        """A foreign checkpoint's network, groups verified on it."""
        from compress.plan import UserError
        from compress.spaces import TracedSpace, load_network, load_state
        from compress.spaces.constructors import is_code, name_code
        from compress.spaces.states import read_state
        from compress.tracing import traced

        if self.checkpoint is None:
            raise UserError("--checkpoint: is missing; give the trained network that this protocol prunes")
        model = self.protocol["model"]
        if is_code(model):
            model = str(ROOT / model)
            name_code(model)
        bare = TracedSpace(num_classes=len(self.data.classes), model=model)
        if Path(self.checkpoint).is_dir():
            network = load_network(self.checkpoint, bare)
        else:
            network = bare.build()
            load_state(network, read_state(self.checkpoint), source=self.checkpoint)
        network.eval()
        return network, traced(bare, self.size, network=network)

    def cell(self, name: str, trial: dict[str, Any], budget: str) -> dict[str, Any]:
        """Prune by one method with the settings `trial` under `budget`, fine-tune, and judge."""
        small, more = self.small(name, trial, budget)
        return {"trial": trial, **more, **self.finished(small, name)}

    def finished(self, small: Any, name: str) -> dict[str, float]:
        """Fine-tune what is left, in place: its figures before and after, and its size."""
        from compress.costs import count_macs, count_params

        network = self.baseline[0]
        ratios = {
            f"{key}_ratio": round(count(small) / count(network), 4)
            for key, count in (("macs", lambda n: count_macs(self.counted(n), self.size)), ("params", count_params))
        }
        sliced = deepcopy(small)
        self.finetune(small, name, more_epochs=self.later(name))
        # Once, when all has been trained.
        return {**ratios, "sliced": self.figure(sliced), **self.figures(small)}

    def unpruned(self) -> dict[str, Any]:
        """Judge the unpruned network; where the protocol's `unpruned` is "trained on", after as much more training as
        pruned ones have, and as it was as `sliced`."""
        if self.protocol.get("unpruned") != "trained on":
            return self.figures(self.baseline[0])
        longer = deepcopy(self.network_of("trained on", {}, self.trained_on))
        self.finetune(longer, "unpruned", more_epochs=0)
        return {"sliced": self.figure(self.baseline[0]), **self.figures(longer)}

    def counted(self, network: Any) -> Any:
        """The part of `network` whose MACs count."""
        return network

    def small(self, name: str, trial: dict[str, Any], budget: str) -> tuple[Any, dict[str, float]]:
        """What the method leaves under `budget`, before fine-tuning, and what was measured of it to find it."""
        kind, _, value = budget.partition("-")
        if kind == "free":
            return self.free(name, trial, float(value))
        make = self.maker(name, trial, float(value), kind=KINDS[kind])
        return self.at_latency(name, trial, make, float(value)) if kind == "latency" else (make(float(value)), {})

    def free(self, name: str, trial: dict[str, Any], share: float) -> tuple[Any, dict[str, float]]:
        """The network without the channels whose scores a search has brought to zero, and the share that is gone; of
        methods that search for nothing, without `share` of all."""
        from compress.pruning import Budget

        settings, found = self.searched_for(name, trial, share)
        budget = Budget("pruning_ratio", share) if self.only_scores(name) else Budget("free")
        small, plan = self.sliced(found, self.selection(settings), budget)
        return small, {"pruned": round(plan.record["pruned_ratio"], 4)}

    def maker(
        self, name: str, trial: dict[str, Any], target: float, *, kind: str = "macs_ratio"
    ) -> Callable[[float], Any]:
        """Share of the MACs that may stay, or by another `kind` of budget -> the network that the method leaves;
        `target` is the budget's share."""
        from compress.pruning import Budget

        if self.protocol["methods"][name]["by"] == "torch-pruning":
            assert kind == "macs_ratio", "torch-pruning is told MACs"
            settings = {**self.protocol["methods"][name], **trial}
            network = self.network_of(name, trial, lambda: self.prepared(name, settings))
            cut = cutter(network, settings, **self.limits, round_to=self.protocol["select"]["round_to"])
            return lambda share: at_macs(cut, share, self.size)
        settings, found = self.searched_for(name, trial, target)
        select, harms = self.selection(settings), None
        if select.gain == "measured":
            key = key_of("harms", name, settings)
            harms = self.searched.once(key, lambda: self.harms(name, settings, found, select.images))
        return lambda share: self.sliced(found, select, Budget(kind, share), harms)[0]

    def searched_for(self, name: str, trial: dict[str, Any], target: float) -> tuple[dict[str, Any], Any]:
        """A method's settings with those of `trial`, and what its search finds, for the budget's share `target`."""
        settings = {**self.protocol["methods"][name], **trial}
        if settings.get("method", {}).get("target") == "budget":
            settings["method"] = {**settings["method"], "target": target}
        return settings, self.found(name, {**trial, **settings}, lambda: self.search(name, settings))

    def selection(self, settings: dict[str, Any]) -> Any:
        """How channels are chosen."""
        from compress.pruning.rounding import SelectSection

        return SelectSection(**{**self.protocol["select"], **settings.get("select", {})})

    def found(self, name: str, trial: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """What a search finds, once for all trials and budgets that differ in the selection alone."""
        from compress.engine.searching import Found

        def plain() -> dict[str, Any]:
            found = compute()
            return {"scores": found.scores, "weights": found.network.state_dict()}

        kept = self.searched.once(key_of("found", name, trial), plain)
        return Found(kept["scores"], self.with_weights(kept["weights"]), {})

    def network_of(self, name: str, trial: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """A network of the baseline's form that `compute` trains, once for all budgets."""
        return self.with_weights(self.searched.once(key_of("network", name, trial), lambda: compute().state_dict()))

    def with_weights(self, weights: dict[str, Any]) -> Any:
        """The baseline's network with other weights."""
        network = deepcopy(self.baseline[0])
        network.load_state_dict(weights)
        return network.eval()

    def search(self, name: str, settings: dict[str, Any]) -> Any:
        """Scores, and the network with the scores folded in."""
        from compress.engine.searching import search

        network, space = self.start(name), self.baseline[1]
        with self.job("search", name) as job:
            return search(deepcopy(network), space, self.task, self.config(settings), job, evaluate=lambda _: {})

    def harms(self, name: str, settings: dict[str, Any], found: Any, images: int) -> Any:
        """What fewer channels of every group cost, on training images."""
        from compress.engine.searching import measured

        space, config = self.baseline[1], self.config(settings)
        with self.job("search", name) as job:
            return measured(found.network.eval(), space, found.scores, self.task, config, job, images=images)

    def prepared(self, name: str, settings: dict[str, Any]) -> Any:
        """The network that torch-pruning cuts: the trained one, or with a group lasso trained on."""
        if "reg" not in settings:
            return self.start(name)
        config = self.config(settings)
        with self.job("search", name) as job:
            return regularised(self.baseline[0], settings, self.task, config, job, **self.limits)

    def only_scores(self, name: str) -> bool:
        """Whether a method trains nothing of its own."""
        from compress.search import METHODS

        method = self.protocol["methods"][name]
        if method["by"] == "torch-pruning":
            return all("reg" not in trial for trial in method["trials"])
        return METHODS[method["method"]["type"]].step is None

    def start(self, name: str) -> Any:
        """What a method begins with: the baseline, which methods that only score train on for as long as a search
        trains, where the protocol's `scorers` is "train, score"."""
        if not self.only_scores(name) or self.protocol.get("scorers") != "train, score":
            return self.baseline[0]
        return self.network_of("trained on", {}, self.trained_on)

    def later(self, name: str) -> int:
        """By how many epochs a method that only scores fine-tunes longer: as many as a search has, where `scorers` is
        "score, train"."""
        longer = self.only_scores(name) and self.protocol.get("scorers") == "score, train"
        return self.protocol["search"]["epochs"] if longer else 0

    def trained_on(self) -> Any:
        """The baseline after as many epochs and images a step as a search has, at its weights' rates."""
        from compress.engine.settings import TrainConfig
        from compress.plan import build_settings

        search = self.protocol["search"]
        own = {key: search[key] for key in ("epochs", "optimizer", "amp", "schedule") if key in search}
        config = build_settings(TrainConfig, {**own, "batch_size": 2 * search["batch_size"]}, "search")
        network = deepcopy(self.baseline[0])
        with self.job("train", "trained on") as job:
            self.fit(network, config, job)
        return network.eval()

    @property
    def limits(self) -> dict[str, Any]:
        """What torch-pruning is told of the network."""
        return {"size": self.size, "classes": len(self.data.classes), "ignored": self.protocol["ignored_layers"]}

    def config(self, settings: dict[str, Any]) -> Any:
        """Of a search."""
        from compress.engine.settings import SearchConfig
        from compress.plan import build_settings
        from compress.search import METHODS

        values = {**self.protocol["search"], **settings.get("search", {})}
        if "method" in settings:
            values["method"] = settings["method"]
            if self.protocol.get("equal_steps") and not METHODS[settings["method"]["type"]].halves:
                values["batch_size"] *= 2  # one of each half is a step of the others
        return build_settings(SearchConfig, values, "search")

    def sliced(self, found: Any, select: Any, budget: Any, harms: Any = None) -> tuple[Any, Any]:
        """What is left under `budget`, and its plan."""
        from compress.pruning import plan_for, slice_model

        space = self.baseline[1]
        plan = plan_for(space, found.scores, budget, select, input_size=self.size, harms=harms)
        return slice_model(found.network.eval(), space, plan)[0], plan

    def at_latency(
        self, name: str, trial: dict[str, Any], make: Callable[[float], Any], target: float
    ) -> tuple[Any, dict[str, float]]:
        """The network of `make` whose measured latency is `target` of the baseline's, and its ratio: as it was found,
        and measured once more, because the one that was closest has luck in its first."""
        limits = self.protocol.get("latency", {})
        within, measurements = limits.get("within", WITHIN), limits.get("measurements", MEASUREMENTS)

        def sized() -> dict[str, float]:
            # Half as far as is allowed, because the second measurement differs from the first.
            share, ratio = at_latency(make, target, self.latency_ratio, within=within / 2, measurements=measurements)
            return {"share": share, "latency_ratio_found": round(ratio, 4)}

        more = {"target": target, "select": trial.get("select", {})}
        found = self.searched.once(key_of("latency", name, trial, **more), sized)
        small = make(found["share"])
        again = key_of("latency again", name, trial, **more)
        ratio = self.searched.once(again, lambda: {"latency_ratio": round(self.latency_ratio(small), 4)})
        return small, {"latency_ratio_found": found["latency_ratio_found"], **ratio}

    def latency_ratio(self, small: Any) -> float:
        """Of the tenth percentiles in ONNX Runtime, one image, one thread: the median over SESSIONS pairs of sessions.

        Other users of a processor make the larger network slower by more, and by how much changes within minutes: the
        median of paired ratios went from 0.48 to 0.53 where this one stayed within a percent.
        """
        import numpy as np

        from compress.export import INPUT_NAME, onnx_session
        from compress.measure import interleaved
        from compress.plan import scratch

        x = np.zeros((1, *self.size), np.float32)
        repeats = -(-self.protocol.get("latency", {}).get("repeats", REPEATS) // SESSIONS)
        ratios = []
        with scratch() as folder:
            files = {name: folder / f"{name}.onnx" for name in ("before", "after")}
            for file, graph in zip(files.values(), (self.whole, self.exported(small)), strict=True):
                file.write_bytes(graph)
            for _ in range(SESSIONS):
                sessions = {name: onnx_session(file, threads=1) for name, file in files.items()}
                calls = {name: lambda s=s: s.run(None, {INPUT_NAME: x}) for name, s in sessions.items()}
                samples = interleaved(calls, repeats=repeats)
                before, after = (float(np.percentile(samples[name], 10)) for name in ("before", "after"))
                ratios.append(after / before)
        return statistics.median(ratios)

    @cached_property
    def whole(self) -> bytes:
        """The baseline's ONNX file."""
        return self.exported(self.baseline[0])

    def exported(self, network: Any) -> bytes:
        """The ONNX file of `network`."""
        from compress.export import export_onnx
        from compress.plan import scratch

        with scratch() as folder:
            return export_onnx(deepcopy(network), folder / "network.onnx", input_size=self.size).read_bytes()

    def finetune(self, network: Any, name: str, *, more_epochs: int) -> None:
        """In place, for every method alike."""
        from compress.engine.settings import FinetuneConfig
        from compress.plan import build_settings

        values = self.protocol["finetune"]
        config = build_settings(FinetuneConfig, {**values, "epochs": values["epochs"] + more_epochs}, "finetune")
        teacher = self.baseline[0] if config.distill is not None else None
        with self.job("finetune", name) as job:
            self.fit(network, config, job, teacher=teacher)

    def figure(self, network: Any) -> float:
        """The first of `figures`, as the protocol counts them."""
        return self.figures(network)[figures_of(self.protocol)[0]]

    def figures(self, network: Any) -> dict[str, float]:
        """Top-1 in percent."""
        from compress.engine.loaders import eval_loader
        from compress.engine.training import evaluate_top1

        return {"top1": round(evaluate_top1(network, eval_loader(self.data.test, batch_size=250))["top1"], 4)}

    @contextmanager
    def job(self, stage: str, name: str, *, folder: Path | None = None) -> Iterator[Any]:
        """A stage of training, which goes on with what is in `folder`; without one nothing is kept of it."""
        from compress.engine.training import Job
        from compress.plan import scratch
        from compress.report.progress import TerminalProgress

        with nullcontext(folder) if folder else scratch() as work, TerminalProgress(quiet=True) as progress:
            yield Job(work, work / "metrics.jsonl", stage, self.seed, progress, resume=folder is not None)
