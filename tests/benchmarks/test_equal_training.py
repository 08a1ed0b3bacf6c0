"""What methods of a comparison get alike: images a step, epochs of training, the budget that a search aims at."""

import itertools
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import rivals  # noqa: E402
from _protocol import Protocol  # noqa: E402
from _rival import Rival  # noqa: E402
from _torch_pruning import at_latency  # noqa: E402
from rivals import apart, verdicts  # noqa: E402

from compress.engine.searching import Found  # noqa: E402
from compress.plan.shard import Shard  # noqa: E402


def rival(tmp_path, **changes):
    values = json.loads((ROOT / "benchmarks/rivals_preresnet20.json").read_text())
    return Rival({**values, **changes}, "", None, tmp_path, 1, 0.0)


@pytest.fixture
def stubbed(tmp_path, monkeypatch):
    """A comparison whose networks have one weight: 0 of the baseline, 1 where it is trained on."""
    baseline, further = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    for network, value in ((baseline, 0.0), (further, 1.0)):
        torch.nn.init.constant_(network.weight, value)
    monkeypatch.setattr(Rival, "baseline", (baseline, "space"))
    monkeypatch.setattr(Rival, "trained_on", lambda self: further)
    return lambda order: rival(tmp_path, scorers=order)


def test_a_batch_of_each_half_is_a_step_of_the_methods_that_have_one_batch(tmp_path):
    ours = rival(tmp_path)
    methods = {name: method for name, method in ours.protocol["methods"].items() if name != "tas"}  # aims at a budget
    sizes = {name: ours.config({**method, **method["trials"][0]}).batch_size for name, method in methods.items()}
    whole = {"joint l1", "netslim", "group lasso", "taylor", "magnitude", "random"}
    assert {name for name, size in sizes.items() if size == 128} == whole
    assert {name for name, size in sizes.items() if size == 64} == methods.keys() - whole
    plain = rival(tmp_path, equal_steps=False)
    assert plain.config({**methods["joint l1"], **methods["joint l1"]["trials"][0]}).batch_size == 64


@pytest.mark.parametrize("order", ["train, score", "score, train"])
def test_methods_that_only_score_train_as_long_as_a_search_before_it_or_after_it(stubbed, order):
    ours = stubbed(order)
    epochs = ours.protocol["search"]["epochs"]
    for name in ours.protocol["methods"]:
        scores = name in ("taylor", "magnitude", "random")
        assert ours.only_scores(name) == scores
        before = scores and order == "train, score"
        assert ours.start(name).weight.item() == (1.0 if before else 0.0)
        assert ours.later(name) == (epochs if scores and not before else 0)


def test_torch_prunings_magnitude_only_scores_and_its_group_norm_trains(tmp_path):
    values = json.loads((ROOT / "benchmarks/rivals_lite0.json").read_text())
    ours = Rival(values, "", None, tmp_path, 1, 0.0)
    assert ours.only_scores("torch-pruning magnitude")
    assert not ours.only_scores("torch-pruning group norm")


def test_a_search_that_aims_at_a_cost_aims_at_the_budget(stubbed, monkeypatch):
    ours, aimed = stubbed("train, score"), []

    def search(self, name, settings):
        aimed.append(settings["method"]["target"])
        return Found({"stem": torch.ones(2)}, self.baseline[0], {})

    monkeypatch.setattr(Rival, "search", search)
    trial = ours.protocol["methods"]["tas"]["trials"][0]
    for budget in (0.4, 0.25, 0.4):
        ours.maker("tas", trial, budget)
    assert aimed == [0.4, 0.25], "one search a budget"
    stubbed("train, score").maker("tas", trial, 0.25)
    assert len(aimed) == 2, "kept for a job that goes on"


VALUES = {
    "primary": {"figure": "top1", "budget": "latency-0.5", "method": "ours", "against": ["other"]},
    "latency": {"within": 0.01},
}


def cells(*figures):
    return {seed: {"top1": top1, "latency_ratio": ratio} for seed, (top1, ratio) in enumerate(figures)}


def test_latencies_that_are_not_equal_allow_no_verdict():
    ours, other = cells((50, 0.5), (52, 0.504)), cells((40, 0.5), (41, 0.52))
    (far,) = verdicts(VALUES, "latency-0.5", {"ours": ours, "other": other})
    assert far["verdict"] == "ours and other are not at equal latency: up to 4.0 % from the budget, 1 % are allowed."
    assert apart(VALUES, "latency-0.5", list(ours.values())) == ""
    assert apart(VALUES, "macs-0.5", list(other.values())) == "", "MACs have no such budget"


def test_the_primary_figure_is_told_from_descriptive_ones():
    found = {name: cells((50 + place, 0.5), (51 + place, 0.5)) for place, name in enumerate(("ours", "other", "third"))}
    said = verdicts(VALUES, "latency-0.5", found)
    assert [each["figure"] for each in said] == ["primary", "descriptive"]
    assert said[0]["verdict"].startswith("ours is behind other: -1.00 points of top-1")
    assert verdicts(VALUES, "macs-0.5", found)[0]["figure"] == "descriptive"
    assert verdicts(VALUES, "macs-0.5", {"ours": cells((50, 0.5)), "other": {9: {"top1": 1}}}) == []


def test_what_is_gathered_are_intervals_verdicts_and_a_figure_of_every_budget(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    protocol = Protocol.load(ROOT / "benchmarks/rivals_preresnet20.json")
    names, folder, saved = ["rarts fused", "random"], tmp_path / "results" / "own", {}
    folder.mkdir(parents=True)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    monkeypatch.setattr(rivals, "ROOT", tmp_path)
    for place, name in enumerate(names):
        for seed in (1, 2, 3):
            cell = {
                "macs_ratio": 0.25,
                "params_ratio": 0.3,
                "sliced": 10.0,
                "top1": 60.0 - 9 * place + seed,
                "seconds": 1,
            }
            file = folder / f"macs-0.25 {name} {seed}.json"
            file.write_text(json.dumps({**cell, "protocol_sha256": protocol.hash}))
    monkeypatch.setattr(rivals, "save_results", lambda name, rows, **more: saved.update(name=name, rows=rows, **more))
    rivals.gather(Namespace(quick=False), folder, protocol, names)
    assert [row["top1"] for row in saved["rows"]] == ["62.000 [59.516, 64.484]", "53.000 [50.516, 55.484]"]
    assert saved["verdicts"][0]["verdict"].startswith("rarts fused is ahead of random: +9.00 points of top-1")
    assert saved["verdicts"][0]["figure"] == "primary"
    assert (tmp_path / "docs" / "results" / "own_macs-0.25.svg").read_text().startswith("<?xml")
    assert "ahead of random" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("unpruned", "expected"), [(None, {"top1": 0.0}), ("trained on", {"sliced": 0.0, "top1": 2.0})]
)
def test_the_unpruned_network_is_judged_as_it_is_or_after_as_much_training(stubbed, monkeypatch, unpruned, expected):
    ours = stubbed("train, score")
    ours.protocol["unpruned"] = unpruned
    monkeypatch.setattr(Rival, "finetune", lambda self, network, name, more_epochs: network.weight.data.add_(1.0))
    monkeypatch.setattr(Rival, "figures", lambda self, network: {"top1": network.weight.item()})
    assert ours.unpruned() == expected
    assert ours.unpruned() == expected, "the kept networks stay as they are"


def test_two_jobs_share_the_work_and_no_search(tmp_path, monkeypatch):
    made = []

    class Stub:
        def __init__(self, job, seed):
            self.job, self.seed = job, seed

        def unpruned(self):
            return {"top1": 1.0}

        def cell(self, name, trial, budget):
            made.append((self.job, self.seed, name, budget))
            return {"top1": 1.0}

    monkeypatch.setattr(rivals, "rival_of", lambda args, protocol, seed, holdout: Stub(args.shard.job, seed))
    protocol = Protocol.load(ROOT / "benchmarks/sidt_drawn.json")
    names, budgets, seeds = list(protocol.values["methods"]), protocol.values["budgets"], protocol.values["seeds"]
    for job in (1, 2):
        rivals.run(Namespace(shard=Shard(job, 2), seeds=None, budgets=None, quick=True), tmp_path, protocol, names)
    assert {each[1:] for each in made} == set(itertools.product(seeds, names, budgets))
    assert len({each[:3] for each in made}) == len(seeds) * len(names), "the budgets of a search are one job's"
    assert [sum(each[0] == job for each in made) for job in (1, 2)] == [len(seeds) * len(names) * len(budgets) // 2] * 2
    assert all((tmp_path / f"unpruned {seed}.json").exists() for seed in seeds)


@pytest.mark.parametrize(
    ("latency", "most"),
    [
        (lambda share: share, 1),
        (lambda share: 0.1 + 0.9 * share, 3),
        (lambda share: share**1.5, 4),
        (lambda share: round(share * 64) / 64 * 0.8 + 0.2, 4),
        (lambda share: 0.8 - 0.01 * share if share > 0.4 else share, 7),
    ],
    ids=["even", "with a floor", "bent", "in steps", "that falls where less stays"],
)
def test_networks_of_equal_latency_are_found_in_few_measurements(latency, most):
    measured = []

    def measure(share):
        measured.append(share)
        return latency(share)

    share, ratio = at_latency(lambda share: share, 0.4, measure, within=0.01)
    assert ratio == latency(share)
    assert len(measured) <= most
    if most < 7:
        assert abs(ratio - 0.4) <= 0.004
    assert abs(ratio - 0.4) == min(abs(latency(each) - 0.4) for each in measured)
