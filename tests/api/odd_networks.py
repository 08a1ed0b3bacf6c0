"""Networks that cannot be pruned, each for a reason of its own, and small ones that can although they look odd."""

import threading
import warnings
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.utils import prune


class Plain(nn.Module):
    """Two convolutions and a classifier."""

    def __init__(self, classes=4):
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.b, self.head = nn.Conv2d(8, 6, 3, padding=1), nn.Linear(6, classes)

    def first(self, x):
        return torch.relu(self.norm(self.a(x)))

    def features(self, h):
        return torch.relu(self.b(h)).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(self.first(x)))


class Branching(Plain):
    """The other branch reads the same channels; no image of the example takes it."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(8, 6, 1)

    def forward(self, x):
        h = self.first(x)
        return self.head(torch.relu(self.c(h)).mean((2, 3)) if h.mean() > 100 else self.features(h))


class Looping(Plain):
    def forward(self, x):
        h = self.features(self.first(x))
        while h.abs().max() > 1:
            h = h / 2
        return self.head(h)


class EarlyExit(Plain):
    def forward(self, x):
        y = super().forward(x)
        return y[:, :2] if y.softmax(1).max().item() > 1 else y


class Counting(Plain):
    def forward(self, x):
        h = self.first(x)
        return super().forward(x) / len(torch.nonzero(h))


class InNumpy(Plain):
    def forward(self, x):
        return self.head(self.features(torch.from_numpy(self.first(x).detach().numpy())))


class Noisy(Plain):
    def forward(self, x):
        h = self.first(x)
        return self.head(self.features(h + torch.rand_like(h)))


class OwnCalls(Plain):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class Auxiliary(Plain):
    """A head that is called in training alone."""

    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(8, 4)

    def forward(self, x):
        h = self.first(x)
        y = self.head(self.features(h))
        return y + self.aux(h.mean((2, 3))) if self.training else y


class Named(Plain):
    def forward(self, x):
        return SimpleNamespace(logits=super().forward(x))


class ForgetsItself(Plain):
    """Freezes a norm in training, and returns nothing."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()


class WithAState(Plain):
    def get_extra_state(self):
        return {"version": 2}

    def set_extra_state(self, state):
        pass


class InADict(Plain):
    def forward(self, x):
        return {"logits": super().forward(x)}


class InATuple(Plain):
    def forward(self, x):
        return super().forward(x), x


class Nothing(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x):
        return self.head(x.flatten(1))


class TwoImages(Plain):
    def forward(self, x):
        return self.head(self.features(self.first(x)).reshape(2, 6))


class Locked(Plain):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Tied(Plain):
    """Two layers of one weight, and one layer under two names."""

    def __init__(self):
        super().__init__()
        self.s, self.t, self.u = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.t.weight = self.s.weight
        self.v = self.u

    def forward(self, x):
        h = self.t(torch.relu(self.s(self.first(x))))
        return self.head(self.features(self.v(torch.relu(self.u(h)))))


class InPlace(Plain):
    """Changes what its gradient needs."""

    def features(self, h):
        return super().features(self._changed(h.exp()))

    def _changed(self, h):
        y = h * h
        h += 1
        return y


class Constants(Plain):
    """Values that do not come of the images: an attribute, a buffer, and tensors made on the way."""

    def __init__(self):
        super().__init__()
        self.mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
        self.register_buffer("doubled", torch.tensor(True))

    def forward(self, x):
        x = (x - self.mean) * (2 if self.doubled else 1) + torch.arange(x.shape[-1])
        return super().forward(x * sum(torch.linspace(0, 1, 3).tolist()))


class Dropping(Plain):
    """A path that training drops at random."""

    def forward(self, x):
        return super().forward(x * 0 if self.training and torch.rand(1).item() < 0.5 else x)


def lazy():
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4))


def with_a_history():
    network = Plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(network.b)
    return network


def with_a_mask():
    network = Plain()
    prune.l1_unstructured(network.b, "weight", amount=0.3)
    return network


def in_two_precisions():
    network = Plain()
    network.norm.running_mean = network.norm.running_mean.double()
    return network


def with_nan():
    network = Plain()
    with torch.no_grad():
        network.b.weight[0] = float("nan")
    return network


def partly_on_meta():
    network = Plain()
    network.b.to("meta")
    return network


def scripted():
    return torch.jit.trace(Plain().eval(), torch.zeros(1, 3, 8, 8))
