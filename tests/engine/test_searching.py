"""The search on the Runner: deterministic, resumable bit by bit, equal on every process."""

import json

import pytest
import torch
from quiet import Killed, Quiet
from torch import nn

from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import eval_loader, train_loader
from compress.engine.searchers import SearchModel
from compress.engine.searching import recalibrate, search
from compress.engine.settings import SearchConfig, TrainConfig
from compress.engine.tasks import Classification, CrossEntropy
from compress.engine.training import Job, evaluate_top1
from compress.plan import UserError
from compress.spaces import PreResNetSpace, sizes

SPACE = PreResNetSpace(11, 10)
SGD = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4}


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=64, input_size=16, resize=16), seed=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SPACE.build()


def config(**changes):
    defaults = {"epochs": 2, "batch_size": 8, "gamma": 0.5, "penalty": "proximal", "warmup_epochs": 1}
    return SearchConfig(**{**defaults, "optimizer": SGD, "alpha_optimizer": {**SGD, "weight_decay": 0}, **changes})


def run(folder, data, network, settings, *, seed=0, progress=None, resume=False):
    job = Job(folder / "search", folder / "metrics.jsonl", "search", seed, progress or Quiet(), resume=resume)
    loader = eval_loader(data.test, batch_size=64)
    return search(network, SPACE, Classification(data), settings, job, evaluate=lambda net: evaluate_top1(net, loader))


def rows(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_search_is_a_function_of_its_seed_and_leaves_the_network_alone(tmp_path, data, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = [run(tmp_path / str(i), data, network, config(), seed=seed) for i, seed in enumerate((0, 0, 1))]
    assert same(network.state_dict(), before)
    first, again, other = found
    assert same(first.scores, again.scores)
    assert same(first.network.state_dict(), again.network.state_dict())
    assert rows(tmp_path / "0") == rows(tmp_path / "1")
    assert not same(first.scores, other.scores)
    assert {name: len(score) for name, score in first.scores.items()} == sizes(SPACE.groups)
    assert not first.network.training


def test_the_rows_hold_what_the_formats_promise(tmp_path, data, network):
    progress = Quiet()
    found = run(tmp_path, data, network, config(), progress=progress)
    assert progress.started == ("search", 8, 0)
    assert progress.steps == 8
    assert len(progress.notes) == 2
    for i, row in enumerate(rows(tmp_path), start=1):
        assert (row["stage"], row["epoch"], row["epochs"]) == ("search", i, 2)
        assert {"loss_p", "loss_a", "lr", "lr_alpha", "top1", "mean_abs_score", "zeros"} <= row.keys()
    last = rows(tmp_path)[-1]
    flat = torch.cat(list(found.scores.values()))
    assert last["zeros"] == int((flat == 0).sum())
    assert last["mean_abs_score"] == pytest.approx(float(flat.abs().mean()), abs=1e-6)
    # One epoch of linear warm-up, one of cosine decay, 4 iterations each: the rates of the alpha steps add up.
    assert 0.02 < found.info["strength"] / 0.5 < 0.1
    assert (found.info["type"], found.info["gamma"]) == ("rarts", 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"type": "rarts", "order": "fused"}, "weights": "u"},
        {"alpha_optimizer": {"type": "Adam", "lr": 0.02}, "penalty": "subgradient"},
        {"method": {"type": "netslim"}, "schedule": "step", "warmup_epochs": 0},
    ],
    ids=["fused", "adam", "netslim"],
)
def test_a_killed_search_resumes_to_the_same_bits(tmp_path, data, network, changes):
    settings = config(epochs=3, **changes)
    whole = run(tmp_path / "whole", data, network, settings)
    killed = tmp_path / "killed"
    with pytest.raises(Killed):  # in the second epoch: after its row, before its checkpoint
        run(killed, data, network, settings, progress=Quiet(last=2))
    assert len(rows(killed)) == 2
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"stage": "search", "epo')  # and a row cut short
    progress = Quiet()
    resumed = run(killed, data, network, settings, progress=progress, resume=True)
    n_iters = 3 * (8 if changes.get("method", {}).get("type") == "netslim" else 4)
    assert progress.started == ("search", n_iters, n_iters // 3)
    assert same(resumed.scores, whole.scores)
    assert same(resumed.network.state_dict(), whole.network.state_dict())
    assert rows(killed) == rows(tmp_path / "whole")
    assert resumed.info == whole.info
    again = run(killed, data, network, settings, progress=Quiet(), resume=True)
    assert same(again.scores, whole.scores), "a search that was complete is complete"
    assert rows(killed) == rows(tmp_path / "whole")


def test_the_last_checkpoint_holds_no_code_and_another_is_refused(tmp_path, data, network):
    run(tmp_path, data, network, config(epochs=1, warmup_epochs=0))
    last = tmp_path / "search" / "last.pth"
    state = torch.load(last, weights_only=True)
    assert {name.partition(".")[0] for name in state["state_dict"]} == {"u", "w", "source", "sum_of_steps"}
    assert not (tmp_path / "search" / "last.pth.tmp").exists()
    for content in (b"", last.read_bytes()[:5000]):
        last.write_bytes(content)
        with pytest.raises(UserError, match=r"--resume: .*last\.pth is corrupt"):
            run(tmp_path, data, network, config(epochs=1, warmup_epochs=0), resume=True)


def test_a_search_that_diverges_says_so(tmp_path, data, network):
    with pytest.raises(UserError, match=r"search: training diverged in epoch 1: .*lower search\.optimizer\.lr"):
        run(tmp_path, data, network, config(optimizer={"type": "SGD", "lr": 1e4}, warmup_epochs=0))


def test_after_every_epoch_the_network_that_would_go_on_is_evaluated(tmp_path, data, network):
    seen = []

    def evaluate(net):
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return {}

    job = Job(tmp_path / "search", tmp_path / "metrics.jsonl", "search", 0, Quiet())
    found = search(network, SPACE, Classification(data), config(), job, evaluate=evaluate)
    assert len(seen) == 2
    assert not same(seen[0], seen[1])
    assert same(seen[1], found.network.state_dict())  # eight batches are all that there are


@pytest.mark.parametrize("weights", ["u", "w", "average"])
def test_the_chosen_weights_come_out_folded(network, weights):
    model = SearchModel(network, SPACE, config(weights=weights), input_size=(3, 32, 32))
    with torch.no_grad():
        for i, own in enumerate((model.u, model.w)):
            own.layer1[0].conv3.weight.fill_(1 + 2 * i)  # reads conv2's group into the stream: no BatchNorm behind it
        model.source["layer1.0.conv2"].copy_(torch.arange(16.0))
    folded = model.folded(SPACE)
    expected = {"u": 1, "w": 3, "average": 2}[weights] * torch.arange(16.0)
    torch.testing.assert_close(folded.layer1[0].conv3.weight[5, :, 0, 0], expected)
    assert model.watched() is (model.w if weights == "w" else model.u)


def test_netslim_scores_are_the_networks_scales_with_an_optimiser_of_their_own(network):
    model = SearchModel(network, SPACE, config(method={"type": "netslim"}), input_size=(3, 32, 32))
    optimizers = model.optimizers()
    grouped = [{id(p) for group in optimizers[k].param_groups for p in group["params"]} for k in ("w", "alpha")]
    assert grouped[0].isdisjoint(grouped[1])
    assert grouped[0] | grouped[1] == {id(p) for p in model.w.parameters()}
    assert len(grouped[1]) == len(SPACE.groups)
    assert torch.equal(model.scores()["layer1.0.conv1"], model.w.layer1[0].bn2.weight)


def test_recalibrated_statistics_are_those_of_one_full_batch(data, network):
    split = data.train
    loader = train_loader(split, batch_size=len(split), seed=3)
    loader.set_epoch(0)
    ((images, _),) = list(loader)
    expected = {}

    def observe(module, args, output):
        x = args[0]
        # PyTorch's own sums in channels_last layout are good to some 1e-4 only.
        expected[module] = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=True)

    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network.train()
    hooks = [norm.register_forward_hook(observe) for norm in norms]
    with torch.no_grad():
        network(images.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    recalibrate(network, [loader], CrossEntropy())
    for norm in norms:
        torch.testing.assert_close(norm.running_mean, expected[norm][0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(norm.running_var, expected[norm][1], rtol=1e-3, atol=1e-5)
        assert norm.momentum == 0.1


def test_recalibration_takes_the_plain_mean_over_batches_of_all_loaders(data):
    first, second = (train_loader(data.train.subset(range(i, 64, 2)), batch_size=8, seed=0) for i in (0, 1))
    norm = nn.BatchNorm2d(3)
    recalibrate(nn.Sequential(norm, nn.Conv2d(3, 1, 1), nn.Flatten()), [first, second], CrossEntropy(), batches=6)
    for loader in (first, second):
        loader.set_epoch(0)
    seen = [images for pair in zip(first, second, strict=True) for images, _ in pair][:6]
    torch.testing.assert_close(norm.running_mean, torch.cat(seen).mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))


def test_the_mean_of_two_networks_gets_statistics_of_its_own(tmp_path, data, network):
    """Those that training images give its weights; the two networks' would not fit."""
    settings = config(epochs=1, warmup_epochs=0)
    job = Job(tmp_path / "search", tmp_path / "metrics.jsonl", "search", 0, Quiet())
    task, own = Classification(data), {}
    for weights in ("average", "u"):
        found = run(tmp_path / weights, data, network, config(epochs=1, warmup_epochs=0, weights=weights))
        state = {name: value.clone() for name, value in found.network.state_dict().items()}
        recalibrate(found.network, task.halves(settings.batch_size, job), task)
        own[weights] = same(state, found.network.state_dict())
        assert weights != "average" or int(state["bn.num_batches_tracked"]) == 8
    assert own == {"average": True, "u": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"type": "darts"}}, r"search\.method\.type = 'darts'"),
        ({"method": {"type": "rarts", "lambda": 1}}, r"search\.method\.lambda: rarts has no such parameter"),
        ({"method": {"type": "rarts", "order": "jacobi"}}, r"search\.method\.order = 'jacobi'"),
        ({"gamma": -1.0}, r"search\.gamma"),
        ({"penalty": "l0"}, r"search\.penalty = 'l0'"),
        ({"weights": "v"}, r"search\.weights = 'v'"),
        ({"amp": "fp16"}, r"search\.amp = 'fp16'"),
        ({"epochs": 0}, r"search\.epochs = 0"),
        ({"warmup_epochs": 2}, r"search\.warmup_epochs = 2"),
        ({"label_smoothing": 1.5}, r"search\.label_smoothing = 1\.5"),
        ({"optimizer": {"type": "SGDD", "lr": 0.1}}, r"search\.optimizer\.type = 'SGDD'"),
        ({"alpha_optimizer": {"type": "SGD", "rate": 0.1}}, r"search\.alpha_optimizer: .*rate"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_before_anything_runs(changes, message):
    with pytest.raises(UserError, match=message):
        config(**changes)


def test_train_settings_are_checked_likewise():
    with pytest.raises(UserError, match=r"train\.schedule = 'linear'"):
        TrainConfig(epochs=1, schedule="linear")
    with pytest.raises(UserError, match=r"train\.batch_size = 0"):
        TrainConfig(epochs=1, batch_size=0)
