"""Random numbers, splits and epoch orders that are pure functions of (seed, epoch, index).

Nothing here reads or moves a global random state: every number is a hash of what it is for, so it comes out the same
in any process, in any order of access, before and after a resume. The hash is splitmix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014), whose output decorrelates neighbouring seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from ..plan import UserError

# What a number is for: the first word of every key, so that no two uses share a stream.
ORDER, AUGMENT, SPLIT, TIES = 1, 2, 3, 4

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def mix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One splitmix64 step of every element: a bijection of 64-bit words with full avalanche."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def stream_keys(seed: int, *words: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash a seed and further words into 64-bit keys.

    Args:
        seed: any integer (taken modulo 2**64).
        words: integers, or int64 arrays of one common shape [N].

    Returns:
        uint64 [N], or [1] when all words are integers.

    Example::

        keys = stream_keys(0, AUGMENT, epoch, np.arange(64))
    """
    key = mix64(_as_words(seed))
    for word in words:
        key = mix64(key ^ _as_words(word))
    return key


def uniforms(keys: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """`count` numbers, uniform in [0, 1), from each key: float64 [N, count]. A row depends on its own key only.

    Example::

        draws = uniforms(stream_keys(0, AUGMENT, epoch, indices), 3)
    """
    states = keys[:, None] + np.arange(count, dtype=np.uint64) * _GOLDEN
    return (mix64(states) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _as_words(value: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    if isinstance(value, np.ndarray):
        return value.astype(np.uint64)
    return np.array([int(value) & _MASK], dtype=np.uint64)


def stratified_split(
    labels: ArrayLike, fraction: float, *, seed: int, keys: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split indices at random so that both parts keep the balance of the classes.

    The second part holds `round(fraction * N)` indices; of a class with n members it gets `fraction * n` rounded up
    or down (largest remainders first), so each class is within one of its share.

    Args:
        labels: integers [N].
        fraction: share of the second part, between 0 and 1 exclusive.
        seed: decides which members go where.
        keys: what identifies the members, int64 [N]: where some come or go, the others stay in their part, as far as
            its size allows; None: their places.

    Returns:
        (rest, part): sorted int64 indices, disjoint, together 0..N-1.

    Raises:
        UserError: labels are not a vector of integers, the fraction is out of range, or a part would be empty.

    Example::

        rest, part = stratified_split([0, 0, 1, 1], 0.5, seed=0)
        assert len(rest) == len(part) == 2
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"labels: {labels.dtype} of shape {list(labels.shape)}; give one integer label per image")
    if not 0 < fraction < 1:
        raise UserError(f"fraction={fraction}: must lie between 0 and 1, both excluded; choose for instance 0.1")
    total = round(fraction * len(labels))
    if not 0 < total < len(labels):
        raise UserError(
            f"fraction={fraction} of {len(labels)} images: leaves one part of the split empty; "
            "use more images or another fraction"
        )
    classes, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    takes = _shares(counts, fraction, total=total, tie_keys=stream_keys(seed, TIES, classes.astype(np.int64)))
    order = np.lexsort((stream_keys(seed, SPLIT, np.arange(len(labels)) if keys is None else keys), members))
    place = np.empty(len(labels), dtype=np.int64)  # of an image within the shuffled members of its class
    place[order] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[members[order]]
    taken = place < takes[members]
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _shares(
    counts: NDArray[np.int64], fraction: float, *, total: int, tie_keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Apportion `total` to the classes by largest remainders of `fraction * counts`; ties fall by `tie_keys`."""
    quotas = np.round(fraction * counts, 9)  # 0.1 * 30 is 3.0000000000000004
    takes = np.floor(quotas).astype(np.int64)
    extra = total - int(takes.sum())
    takes[np.lexsort((tie_keys, -(quotas - takes)))[:extra]] += 1
    return takes


def stratified_halves(labels: ArrayLike, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split indices into the two halves D_p and D_a of RARTS (the thesis, chapter 2).

    Sizes differ by at most one, and so do the counts of every class: classes with odd counts give their odd member
    to either half by turns.

    Args:
        labels: integers [N], N at least 2.
        seed: decides which members go where.

    Returns:
        (idx_p, idx_a): sorted int64 indices, disjoint, together 0..N-1.

    Raises:
        UserError: labels are not a vector of at least two integers.

    Example::

        idx_p, idx_a = stratified_halves(split.labels, seed=0)
        halves = split.subset(idx_p), split.subset(idx_a)
    """
    return stratified_split(labels, 0.5, seed=seed)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (index, epoch) pairs in an order that depends on (seed, epoch) alone.

    Every rank takes each `world_size`-th place of the common order, so all ranks draw equally many.

    Args:
        size: number of images.
        seed: of the order.
        shuffle: False keeps the order 0..size-1.
        rank: of this process, 0..world_size-1.
        world_size: number of processes.
        drop_uneven: when `size` is no multiple of `world_size`, drop the remainder instead of repeating the order's
            beginning.

    Raises:
        UserError: no image, rank or world size out of range, or fewer images than ranks with `drop_uneven`.

    Example::

        sampler = EpochSampler(100, seed=0)
        sampler.set_epoch(3)
        index, epoch = next(iter(sampler))
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_uneven: bool = False,
    ) -> None:
        if size < 1:
            raise UserError(f"size={size}: a sampler needs at least one image; check the data")
        if not 0 <= rank < world_size:
            raise UserError(f"rank={rank}, world_size={world_size}: rank must be in 0..world_size-1; mend the launcher")
        if drop_uneven and size < world_size:
            raise UserError(f"size={size}: fewer images than world_size={world_size}; start fewer processes")
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._length = size // world_size if drop_uneven else -(-size // world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.size)
        if self.shuffle:  # distinct indices have distinct hashes: sorting by them is a permutation without ties
            order = np.argsort(stream_keys(self.seed, ORDER, self.epoch, order))
        mine = np.resize(order, self._length * self.world_size)[self.rank :: self.world_size]
        return iter([(index, self.epoch) for index in mine.tolist()])
