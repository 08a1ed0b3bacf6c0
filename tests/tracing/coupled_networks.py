"""Small networks, each with one of the ways in which layers are coupled."""

import torch
from torch import nn


class Concatenation(nn.Module):
    """Two branches side by side, flattened into a linear layer: offsets, and a pixel's worth of columns a channel."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(10)
        self.mix = nn.Conv2d(10, 5, 1)
        self.head = nn.Linear(5 * 16, 7)

    def forward(self, x):
        x = self.mix(torch.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))
        return self.head(torch.relu(x).flatten(1))


class Overlap(nn.Module):
    """A concatenation that something is added to: the sum's channels belong to two groups."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 10, 1)
        self.head = nn.Linear(10, 7)

    def forward(self, x):
        return self.head(torch.relu(self.c(x) + torch.cat([self.a(x), self.b(x)], 1)).mean((2, 3)))


class Grouped(nn.Module):
    """Two grouped convolutions in a row, the second with twice as many outputs, and a squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = nn.Conv2d(12, 12, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(12)
        self.conv3 = nn.Conv2d(12, 24, 3, padding=1, groups=4)
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.head = nn.Linear(24, 7)

    def forward(self, x):
        x = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        x = self.conv3(x)
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """A stream that two blocks add to, and a depthwise convolution inside one."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), norm(8)
        self.up, self.deep = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.down = nn.Conv2d(16, 8, 1)
        self.scale = nn.Parameter(torch.zeros(8, 1, 1))
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = x + self.scale * self.down(torch.relu(self.deep(self.up(x))))
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.inner, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 7)

    def forward(self, x):
        x = self.twice(torch.relu(self.twice(torch.relu(self.stem(x)))))
        return self.head(torch.relu(self.inner(x)).mean((2, 3)))


class Fixed(nn.Module):
    """Code that counts on the width of its first layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Linear(6, 7)

    def forward(self, x):
        x = self.a(x)
        x = x.view(x.shape[0], 8, x.shape[2], x.shape[3])
        return self.head(torch.relu(self.b(x)).mean((2, 3)))


class Gate(nn.Module):
    """Two halves of one layer's channels, of which one is the other's gate."""

    def __init__(self, gate=None):
        super().__init__()
        self.up, self.down, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 12, 1), nn.Linear(12, 7)
        self.gate = gate or (lambda x: torch.mul(*x.chunk(2, 1)))

    def forward(self, x):
        return self.head(torch.relu(self.down(self.gate(self.up(x)))).mean((2, 3)))


class Halves(nn.Module):
    """A layer cut in halves, of which one goes through a residual block; all of it side by side in the end."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 1)
        self.norm, self.mix, self.head = nn.BatchNorm2d(16), nn.Conv2d(24, 10, 1), nn.Linear(10, 7)

    def forward(self, x):
        a, b = torch.relu(self.norm(self.stem(x))).chunk(2, 1)
        x = torch.cat([a, b, b + self.b(torch.relu(self.a(b)))], 1)
        return self.head(torch.relu(self.mix(x)).mean((2, 3)))


class Shuffled(nn.Module):
    """Half of the channels go through a branch, and then all are shuffled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.branch = nn.Sequential(
            nn.Conv2d(4, 10, 1, bias=False), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 10, 3, padding=1, groups=10),
            nn.BatchNorm2d(10), nn.Conv2d(10, 4, 1)
        )  # fmt: skip
        self.last, self.head = nn.Conv2d(8, 12, 1), nn.Linear(12, 7)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, 1)
        x = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(torch.relu(self.last(x)).mean((2, 3)))


class Radix(nn.Module):
    """Split attention (ResNeSt): two parts of a layer's channels, summed with weights that come of their sum."""

    def __init__(self):
        super().__init__()
        self.parts, self.squeeze, self.excite = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 12, 1)
        self.last, self.head = nn.Conv2d(6, 10, 1), nn.Linear(10, 7)

    def forward(self, x):
        x = torch.relu(self.parts(x))
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w)
        weights = self.excite(torch.relu(self.squeeze(x.sum(1).mean((2, 3), keepdim=True))))
        weights = weights.view(n, 1, 2, -1).transpose(1, 2).softmax(1).reshape(n, 2, c // 2, 1, 1)
        x = (x * weights).sum(1)
        return self.head(torch.relu(self.last(x)).mean((2, 3)))
