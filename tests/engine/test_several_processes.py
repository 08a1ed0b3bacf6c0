"""Two processes: gradients in buckets, BatchNorm over all images, every method as one process with the whole batch."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from of_two import SETTINGS
from quiet import Quiet
from torch import nn

from compress.engine import parallel
from compress.engine.averaging import BYTES, FIRST_BYTES, in_buckets
from compress.engine.norms import NormStatistics
from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both processes of of_two.py have found."""
    folder = tmp_path_factory.mktemp("two")
    outs = [folder / f"{rank}.pt" for rank in (0, 1)]
    script = Path(__file__).with_name("of_two.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), folder / "meet", out], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for rank, out in enumerate(outs)
    ]
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert errors == ["", ""]
    return [torch.load(out, weights_only=True) for out in outs]


@pytest.mark.parametrize("kind", ["float32", "bf16"])
def test_gradients_are_means_of_what_the_processes_have(found, kind):
    for own in found:
        for number in range(2):
            *chain, unused, never, last = own["gradients"][f"{kind} {number}"]["means"]
            # d/dp_i of c p_0 p_1 p_2 p_3, where p_i = 1 + i and c is 1 and 3.
            for i, mean in enumerate(chain):
                assert torch.equal(mean, torch.full((5, 4), 2 * 24.0 / (1 + i)))
            assert torch.equal(unused, torch.full((3,), 0.5)), "one process has none: that counts as 0"
            assert torch.equal(never, torch.zeros(2))
            assert torch.equal(last, torch.full((2, 8, 3, 3), 1.5))
            assert last.is_contiguous(memory_format=torch.channels_last)


def test_buckets_leave_during_the_backward_pass_in_the_first_processs_order(found):
    for rank, own in enumerate(found):
        second = own["gradients"]["float32 1"]
        assert own["gradients"]["float32 order"] == [[[6], [3, 2], [1, 0], [4, 5]]], "the first process has no 4"
        assert second["sizes"] == [144, 40, 40, 5]
        assert second["after"][:3] == [1 + rank, 3 + rank, 5 + rank], "as soon as they are full; the second has 4 first"
        assert own["gradients"]["float32 0"]["sizes"] == second["sizes"], "sums of all passes are rounded alike"
        assert own["gradients"]["bf16 1"]["types"] == ["torch.bfloat16"] * 4


def test_buckets_close_at_ddps_sizes():
    sizes = [FIRST_BYTES // 8, FIRST_BYTES // 8, 1, BYTES // 4, 1, 1]
    parameters = [torch.empty(size, device="meta") for size in sizes]
    assert in_buckets(parameters, range(6)) == [[0, 1], [2, 3], [4, 5]]
    assert in_buckets([*parameters[:2], parameters[2].double()], [2, 0, 1]) == [[2], [0, 1]], "one dtype each"
    assert in_buckets([], []) == []


def test_plain_training_has_the_same_switch(found):
    for own in found:
        for kind, bound in (("float32", 1e-6), ("bf16", 1e-2)):
            for got, expected in zip(*own["trained"][kind]["values"].values(), strict=True):
                torch.testing.assert_close(got, expected, rtol=bound, atol=1e-6)
        assert not torch.equal(*(own["trained"][kind]["values"]["found"][0] for kind in ("float32", "bf16")))


def test_the_first_step_is_taken_once_and_adds_up_as_all_later_ones(found):
    """One batch has been seen by a norm, one image drawn, and DDP has no order of gradients to change."""
    for own in found:
        assert own["trained"]["float32"]["once"] == [1, True, False]


def test_a_layer_that_the_loss_does_not_know_is_told_by_name(found):
    for own in found:
        assert own["idle"].startswith(
            "training: the loss does not depend on net.layer.weight (2 of 4 parameters are so), which several processes"
        )


def test_evaluation_asks_no_other_process(found):
    """A norm without running statistics: the processes have other numbers of batches, and would wait for ever."""
    for rank, own in enumerate(found):
        assert len(own["evaluated"]) == 1 + rank
        for out in own["evaluated"]:
            torch.testing.assert_close(out, torch.tensor([-1.0, 1.0]).expand(1, 2, 1, 2), rtol=1e-4, atol=1e-4)


def test_processes_that_do_not_see_the_same_all_hear_it(found):
    assert [own["agreed"] for own in found] == [["", "not alike"]] * 2


def test_shared_batch_norm_is_that_of_the_whole_batch(found):
    """3 and 5 images: outputs, gradients of images and weights, running statistics; the mean is large."""
    whole, (first, second) = found[0]["normalised"]["whole"], (own["normalised"]["own"] for own in found)
    together = [torch.cat([first["out"], second["out"]]), torch.cat([first["grads"][0], second["grads"][0]])]
    torch.testing.assert_close(together[0], whole["out"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1], whole["grads"][0], rtol=1e-4, atol=1e-4)
    for i in (1, 2):
        torch.testing.assert_close(first["grads"][i] + second["grads"][i], whole["grads"][i], rtol=1e-4, atol=1e-4)
    for name, value in whole["state"].items():
        assert torch.equal(first["state"][name], second["state"][name])
        torch.testing.assert_close(first["state"][name], value, rtol=1e-6, atol=1e-6)


def test_running_statistics_become_their_means(found):
    for own in found:
        state = own["statistics"]
        for i in range(2):
            assert torch.equal(state[f"{i}.running_mean"], torch.full((2,), 10 * i + 0.5))
            assert torch.equal(state[f"{i}.running_var"], torch.full((2,), i + 2.0))
    assert torch.equal(found[1]["statistics"]["2.running_mean"], torch.full((2,), 21.0)), "a frozen norm's stay"


def test_unequal_scores_end_the_search_by_name(found):
    for own in found:
        assert own["unequal"].startswith(
            "search: after epoch 5 the 2 processes hold different scores of 'layer2.0.conv1'"
        )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_steps_as_one_process_with_the_whole_batch(found, name):
    """Weights, scores and statistics, in float64; the processes were made from different seeds."""
    (first, second), alone = (own["searched"][name] for own in found), found[0]["alone"][name]
    for state, value in alone["state"].items():
        assert torch.equal(first["state"][state], second["state"][state]), "equal on both"
        torch.testing.assert_close(
            first["state"][state], value, rtol=1e-9, atol=1e-12, msg=lambda m, s=state: f"{s}: {m}"
        )
    assert alone["calls"] == 0
    assert all(torch.equal(first["scores"][group], score) for group, score in second["scores"].items())


def test_parts_of_a_batch_are_averaged_once(found):
    """A BatchNorm sends in every pass; what is sent besides is one bucket of gradients."""
    norms = 10
    calls = {name: found[0]["searched"][name]["calls"] for name in ("joint", "accumulated")}
    assert calls == {"joint": 2 * norms + 1, "accumulated": 2 * 3 * norms + 1}


@pytest.mark.parametrize(("images", "warned"), [(7, True), (8, False)])
def test_few_images_of_a_process_are_warned_of(images, warned):
    progress, runner = Quiet(), SimpleNamespace(model=nn.Sequential(nn.BatchNorm2d(2)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        NormStatistics("search", images, progress).before_train(runner)
    assert [str(each.message).split(":")[0] for each in told] == [f"search.batch_size = {images}"] * warned
    assert len(progress.notes) == 1
    assert "search.sync_bn=True" in progress.notes[0]


def test_networks_without_batch_norm_hear_nothing():
    progress, frozen = Quiet(), nn.Sequential(nn.Linear(2, 2))
    NormStatistics("search", 1, progress).before_train(SimpleNamespace(model=frozen))
    assert progress.notes == []


def test_other_numbers_of_processes_take_parts_of_the_same_step(monkeypatch):
    monkeypatch.setattr(parallel, "get_world_size", lambda: 3)
    assert parallel.share(10, None) == 10, "a run's first processes"
    assert parallel.share(6, 2) == 4
    with pytest.raises(UserError, match="takes 20 images a step, because it began with 2 processes, which 3 cannot"):
        parallel.share(10, 2)
