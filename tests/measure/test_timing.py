"""Interleaved timing: order, counts, summaries, and that a known ratio is found."""

import gc

import numpy as np
import pytest
import torch

from compress.measure import interleaved, summarise, summarise_ratio, torch_threads
from compress.measure.kit.ondevice import turns
from compress.plan import UserError


class Clock:
    """Stands still but for `spend`."""

    now_ns = 0

    def spend(self, ms):
        self.now_ns += round(ms * 1e6)

    def perf_counter(self):
        return self.now_ns / 1e9

    def perf_counter_ns(self):
        return self.now_ns


@pytest.fixture
def clock(monkeypatch):
    """The clock of `interleaved`: what a call takes is what it spends."""
    made = Clock()
    monkeypatch.setattr(turns, "time", made)
    return made


def recorder(log, name):
    return lambda: log.append(name)


def test_every_round_runs_all_and_turns_around():
    log = []
    callables = {name: recorder(log, name) for name in "abc"}
    samples = interleaved(callables, repeats=4, inner=1, warmup_seconds=0.0)
    assert "".join(log[-12:]) == "abccbaabccba"
    assert {name: len(values) for name, values in samples.items()} == {"a": 4, "b": 4, "c": 4}


def test_inner_count_is_kept():
    log = []
    interleaved({"a": recorder(log, "a"), "b": recorder(log, "b")}, repeats=2, inner=3, warmup_seconds=0.0)
    assert "".join(log[-12:]) == "aaabbbbbbaaa"


def test_inner_count_fills_a_sample(clock):
    """A call of 0.25 ms is repeated until a sample takes 2 ms; what is returned is per call."""
    calls = []

    def call():
        calls.append(clock.spend(0.25))

    assert interleaved({"call": call}, repeats=5, warmup_seconds=0.02)["call"] == [0.25] * 5
    warm_up = 20 / 0.25
    assert len(calls) == warm_up + 5 * 2 / 0.25


@pytest.mark.parametrize("inner", [0, 1, 4])
def test_three_times_the_work_takes_three_times_as_long(clock, inner):
    calls = {"once": lambda: clock.spend(0.1), "thrice": lambda: clock.spend(0.3)}
    samples = interleaved(calls, repeats=40, inner=inner, warmup_seconds=0.1)
    assert summarise_ratio(samples["once"], samples["thrice"])["median"] == pytest.approx(3)


def test_the_clock_runs():
    assert min(interleaved({"a": lambda: sum(range(1000))}, repeats=3, inner=1, warmup_seconds=0.0)["a"]) > 0


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_off_while_timing_and_restored(enabled):
    seen = []
    was_enabled = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        interleaved({"a": lambda: seen.append(gc.isenabled())}, repeats=3, inner=1, warmup_seconds=0.0)
        assert seen[-3:] == [False] * 3
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if was_enabled else gc.disable()


def test_garbage_collection_is_restored_after_an_error():
    calls = []

    def fails_on_the_third_call():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        interleaved({"a": fails_on_the_third_call}, repeats=5, inner=1, warmup_seconds=0.0)
    assert gc.isenabled()


@pytest.mark.parametrize(("growth", "lasted_ms"), [(1.0, 100), (1.001, 100), (1.01, 500)])
def test_warm_up_lasts_as_asked_and_five_times_as_long_where_the_pace_does_not_settle(clock, growth, lasted_ms):
    """Calls of 1 ms, each `growth` times as long as the one before it: windows of 25 ms differ by 2 % or by 20 %."""
    takes = [1.0]

    def call():
        clock.spend(takes[-1])
        takes.append(takes[-1] * growth if len(takes) < 1000 else takes[-1])

    interleaved({"a": call}, repeats=1, inner=1, warmup_seconds=0.1)
    assert lasted_ms <= sum(takes[:-2]) < lasted_ms + 2 * max(takes)


@pytest.mark.parametrize("count", [1, 2, 59])
def test_summary_is_numpys(count):
    samples = list(np.random.default_rng(count).lognormal(size=count))
    found = summarise(samples)
    assert found == {
        "median": pytest.approx(np.median(samples)),
        "p10": pytest.approx(np.percentile(samples, 10)),
        "p90": pytest.approx(np.percentile(samples, 90)),
        "n": count,
    }
    assert all(type(value) in (float, int) for value in found.values())


def test_ratio_is_of_pairs_not_of_medians():
    before, after = [1.0, 10.0, 100.0], [2.0, 5.0, 50.0]
    assert summarise_ratio(before, after)["median"] == 0.5
    assert set(summarise_ratio(before, after)) == {"median", "p10", "p90"}
    steady = summarise_ratio(before, [value * 0.7 for value in before])
    assert steady["p10"] == pytest.approx(0.7)
    assert steady["p90"] == pytest.approx(0.7)


def test_threads_are_set_and_restored():
    former = torch.get_num_threads()
    with torch_threads(former + 1):
        assert torch.get_num_threads() == former + 1
    assert torch.get_num_threads() == former


def test_threads_are_restored_after_an_error():
    former = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="shape"), torch_threads(former + 1):
        torch.zeros(2).reshape(3)
    assert torch.get_num_threads() == former


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: interleaved({}, repeats=1), "callables"),
        (lambda: interleaved({"a": print}, repeats=0), "repeats=0"),
        (lambda: interleaved({"a": print}, repeats=1, inner=-1), "inner=-1"),
        (lambda: summarise([]), "samples"),
        (lambda: summarise_ratio([1.0], [1.0, 2.0]), "1 and 2"),
    ],
)
def test_bad_input(call, named):
    with pytest.raises(UserError, match=named):
        call()
