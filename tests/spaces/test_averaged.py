"""Averaged weights (EMA) beside plain ones: which are taken, in the layouts that trainings leave them in."""

import warnings

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compress.plan import UserError
from compress.spaces import PreResNetSpace, load_state, read_weights

SPACE = PreResNetSpace(11, 4)


def network(seed):
    torch.manual_seed(seed)
    return SPACE.build()


PLAIN, AVERAGED = (network(seed).state_dict() for seed in (1, 2))


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def torchvisions():
    averaged = AveragedModel(network(2), multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    return {"model": PLAIN, "model_ema": averaged.state_dict(), "epoch": 3}


def mmengines():
    """As EMAHook saves them: it swaps the two, so that `state_dict` is what is deployed."""
    hook, checkpoint = EMAHook(), {"state_dict": dict(PLAIN), "meta": {"epoch": 3}}
    checkpoint["ema_state_dict"] = ExponentialMovingAverage(network(2)).state_dict()
    hook._swap_ema_state_dict(checkpoint)
    return checkpoint


BOTH = {
    "timm": lambda: {"state_dict": PLAIN, "state_dict_ema": AVERAGED, "epoch": 3},
    "timm-ModelEmaV2": lambda: {"state_dict": PLAIN, "state_dict_ema": prefixed("module.", AVERAGED)},
    "deit": lambda: {"model": PLAIN, "model_ema": AVERAGED, "optimizer": {"state": {}}},
    "torchvision": torchvisions,
    "in-a-module": lambda: {"model": PLAIN, "ema": {"module": prefixed("module.", AVERAGED), "updates": 7}},
    "in-a-wrapper": lambda: {"state_dict": {"model": PLAIN, "ema_model": AVERAGED}},
    "mmengine": mmengines,
    "lightning": lambda: {
        "state_dict": prefixed("net.", AVERAGED),
        "current_model_state": prefixed("net.", PLAIN),
        "averaging_state": {"n_averaged": torch.tensor(7)},
    },
    "one-state-dict": lambda: {
        "state_dict": {
            **prefixed("model.", PLAIN),
            **prefixed("ema.module.", AVERAGED),
            "ema.n_averaged": torch.ones(1),
        }
    },
}


def loaded(file, ema):
    """The tensors that a network gets, whether they are averaged ones, and what is said."""
    weights, fresh = read_weights(file, ema=ema), network(3)
    found = load_state(fresh, weights.state, source="net", ema=ema)
    averaged = weights.averaged if found.averaged is None else found.averaged
    return fresh.state_dict(), averaged, weights.said + found.said


def same(state, other):
    return all(torch.equal(state[name], value) for name, value in other.items() if value.is_floating_point())


@pytest.mark.parametrize("layout", BOTH)
def test_averaged_weights_are_taken_unless_plain_ones_are_asked_for(tmp_path, layout):
    torch.save(BOTH[layout](), tmp_path / "net.pth")
    for ema, wanted, flag in ((None, AVERAGED, "--no-ema"), (True, AVERAGED, "--no-ema"), (False, PLAIN, "--use-ema")):
        state, averaged, said = loaded(tmp_path / "net.pth", ema)
        assert same(state, wanted)
        assert averaged == (wanted is AVERAGED)
        assert flag in said
        assert "\n" not in said


def test_a_file_with_one_set_says_nothing(tmp_path):
    for value, averaged in (
        ({"state_dict": PLAIN}, None),
        ({"model": PLAIN, "ema": {"decay": 0.9, "num_updates": 7}}, None),
        ({"model_ema": PLAIN}, True),
    ):
        torch.save(value, tmp_path / "net.pth")
        state, *told = loaded(tmp_path / "net.pth", None)
        assert same(state, PLAIN)
        assert told == [averaged, ""]
    with pytest.raises(UserError, match=r"^--no-ema: .*net\.pth holds averaged weights alone; leave it away$"):
        read_weights(tmp_path / "net.pth", ema=False)


def test_a_network_with_averaged_weights_of_its_own_keeps_them():
    """A momentum encoder is part of the network, so no prefix is taken off."""
    net = torch.nn.ModuleDict({"model": network(1), "ema": network(2)})
    other = torch.nn.ModuleDict({"model": network(3), "ema": network(4)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_state(other, net.state_dict(), source="net")
    assert (found.averaged, found.said) == (None, "")
    assert same(other.state_dict(), net.state_dict())
