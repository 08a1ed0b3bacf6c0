"""Coupled layers by what their channels reach: candidates where there is no graph, or where it is wrong.

Channels that meet in one entry of a layer's input live and die together, of one layer or of several, and so do all the
entries that one of them reaches. Such a set is one channel of a group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..spaces import Group, Slice
from .graph import WRITES, Candidate, Item, add_new, candidate, ends
from .layouts import Entries, runs
from .probe import NONE, PARTS, SEVERAL, Probe, Source


@dataclass
class Meetings:
    """Sets of channels and entries that belong together.

    Attributes:
        channels: {source: {set: those of its channels that are in it}}.
        entries: {layer: {set: those entries of its input}}.
        mixed: {set: why it is not a channel of a group}.
    """

    channels: Mapping[Source, Entries]
    entries: Mapping[str, Entries]
    mixed: Mapping[int, str]


def meetings(probe: Probe, wanted: Collection[str]) -> Meetings:
    """Which channels of the layers `wanted`, and of what meets them, meet where, in the network of `probe`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = _Pairs(probe)
    found.collect(wanted)
    a, b = (np.concatenate(each) if each else np.zeros(0, int) for each in (found.left, found.right))
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(found.n, found.n))
    _, sets = connected_components(graph, directed=False)
    channels = {each: _members(sets[start : start + each.n]) for each, start in found.sources.items()}
    entries = {name: _members(sets[start : start + probe.entries[name]]) for name, start in found.layers.items()}
    mixed = {each: why for source, why in found.mixed.items() for each in channels[source]}
    return Meetings(channels, entries, mixed)


def _members(sets: np.ndarray) -> dict[int, list[int]]:
    """{set: where it stands in `sets`}."""
    found: dict[int, list[int]] = {}
    for i, each in enumerate(sets.tolist()):
        found.setdefault(each, []).append(i)
    return found


class _Pairs:
    """Edges between channels and the entries that they reach, all numbered in one row."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.sources: dict[Source, int] = {}
        self.layers: dict[str, int] = {}
        self.left, self.right = list[np.ndarray](), list[np.ndarray]()
        self.mixed: dict[Source, str] = {}
        self.n = 0
        for source in probe.sources:
            self.sources[source] = self.n
            self.n += source.n
        for name, length in probe.entries.items():
            self.layers[name] = self.n
            self.n += length

    def collect(self, wanted: Collection[str]) -> None:
        """All sources at once, then once more those of which several channels meet, or that meet in other numbers."""
        probe, unclear = self.probe, list[Source]()
        hopeful = self._hopeful(wanted)
        if not hopeful:
            return
        numbers = probe.numbers(hopeful)
        for apart in self._apart(hopeful):
            reached = probe.reach({each: torch.ones(each.n) for each in apart})
            for source in apart:
                own = {name: torch.where(reached[name], numbers[name], NONE) for name in probe.readers[source]}
                if all(bool(((each >= NONE) & (each < source.n)).all()) for each in own.values()):
                    self._link(source, own)
                else:
                    unclear.append(source)
        for apart in self._apart(unclear):
            self._once_more(apart)

    def _hopeful(self, wanted: Collection[str]) -> list[Source]:
        """The layers `wanted` and all that meets them, directly or not, without what norms over channels take."""
        free = [each for each in self.probe.sources if not self._is_normalised(each)]
        near = {each for each in free if each.parameter is None and each.module in wanted}
        read = {name for each in near for name in self.probe.readers[each]}
        while more := [each for each in free if each not in near and not read.isdisjoint(self.probe.readers[each])]:
            near.update(more)
            read.update(name for each in more for name in self.probe.readers[each])
        return [each for each in free if each in near]

    def _is_normalised(self, source: Source) -> bool:
        """Whether a norm over channels takes them, which is noted."""
        for name in self.probe.readers[source]:
            if isinstance(said := ends(name, self.probe.modules[name], {}, out=False), str):
                self.mixed[source] = said
        return source in self.mixed

    def _apart(self, sources: Sequence[Source]) -> Iterator[list[Source]]:
        """Sources in turn, beside each other those that have no reader in common."""
        left = list(sources)
        while left:
            apart, read = list[Source](), set[str]()
            for source in left:
                if read.isdisjoint(self.probe.readers[source]):
                    apart.append(source)
                    read |= self.probe.readers[source]
            yield apart
            left = [each for each in left if each not in apart]

    def _once_more(self, apart: list[Source]) -> None:
        """Sources that have no reader in common, in parts where several channels of one meet in one entry."""
        for channel in (0, -1):
            alone = {each: torch.zeros(each.n).index_fill_(0, torch.tensor(channel % each.n), 1.0) for each in apart}
            hit = self.probe.reach(alone)
            for source in apart:
                for name in self.probe.readers[source]:
                    # As many of all entries as there would be if few channels met in each: no norm, no attention.
                    if int(hit[name].sum()) > max(PARTS) * -(-self.probe.entries[name] // source.n):
                        self.mixed[source] = f"its channels mix before {name} takes them"
        for of in (1, *PARTS):
            apart = [each for each in apart if each not in self.mixed]
            now = [each for each in apart if each.n % of == 0 and each.n > of]
            parts = [self.probe.numbers(now, (which, of)) for which in range(of)] if now else []
            for source in now:
                own = [{name: part[name] for name in self.probe.readers[source]} for part in parts]
                if not any(bool((each == SEVERAL).any()) for part in own for each in part.values()):
                    for which, part in enumerate(own):
                        self._link(source, part, first=which * (source.n // of))
                    apart.remove(source)
        self.mixed.update(dict.fromkeys(apart, "its channels mix before layers take them"))

    def _link(self, source: Source, numbers: Mapping[str, torch.Tensor], first: int = 0) -> None:
        for name, each in numbers.items():
            entries = (each >= 0).nonzero().flatten()
            if len(entries):
                self.left.append(self.sources[source] + first + each[entries].numpy())
                self.right.append(self.layers[name] + entries.numpy())


def met(probe: Probe, wanted: Collection[str], shared: Mapping[str, str]) -> list[Candidate]:
    """Candidates for what the layers `wanted` write, in forward order; `shared` as in `trace`."""
    found, candidates = meetings(probe, wanted), list[Candidate]()
    covered: dict[str, set[int]] = {}
    for source, sets in found.channels.items():
        if source.parameter is not None or source.module not in wanted:
            continue
        for each in _of(probe, found, source, sets, shared):
            add_new(each, candidates, covered)
    return candidates


def _of(probe: Probe, found: Meetings, root: Source, sets: Iterable[int], shared: Mapping[str, str]) -> list[Candidate]:
    """What the sets of the channels of `root` are made of, in runs."""
    order = {each: i for i, each in enumerate(sets)}
    items, reasons = list[Item](), list[str]()
    writers = 0

    def add(made: tuple[Item, ...] | str) -> None:
        if isinstance(made, str):
            reasons.append(made)
        else:
            items.extend(made)

    for source, own in found.channels.items():
        if not (entries := _entries(own, order)):
            continue
        module = probe.modules[source.module]
        if source.parameter is not None:
            add((Item(source.module, nn.Module, WRITES, source.axis, entries, source.parameter),))
        else:
            writers += 1
            add(ends(source.module, module, entries, out=True))
    for name, own in found.entries.items():
        if entries := _entries(own, order):
            add(ends(name, probe.modules[name], entries, out=False))
    mixed = [found.mixed[each] for each in order if each in found.mixed]
    reasons += [shared[item.module] for item in items if item.module in shared] + mixed
    made = [
        candidate(root.module, channels, items, writers > 1, reasons, len(order))
        for channels in runs([item.entries for item in items], len(order))
    ]
    for each in made:
        each.doubt |= bool(mixed)
    return made


def _entries(own: Entries, order: Mapping[int, int]) -> Entries:
    """{channel: entries} of those sets of `own` that `order` numbers."""
    return dict(sorted((order[each], own[each]) for each in own.keys() & order.keys()))


def tied(groups: list[Group]) -> list[Group]:
    """Groups of one size that share a layer, made one each: as many of the one's channels have to go as of the other's.

    That is what code asks for that cuts a tensor into equal parts.
    """
    left, made = list(groups), list[Group]()
    while left:
        several, grew = [left.pop(0)], True
        while grew:
            modules = {piece.module for group in several for piece in group.slices}
            more = [g for g in left if g.size == several[0].size and any(p.module in modules for p in g.slices)]
            several, left, grew = [*several, *more], [g for g in left if g not in more], bool(more)
        if len(several) > 1:
            made.append(_one(several))
    return made


def _one(groups: list[Group]) -> Group:
    def pieces(side: str) -> tuple[Slice, ...]:
        return tuple(dict.fromkeys(piece for group in groups for piece in getattr(group, side)))

    name = groups[0].name.partition("[")[0]
    return Group(name, groups[0].size, pieces("writes"), pieces("reads"), kind=groups[0].kind)
