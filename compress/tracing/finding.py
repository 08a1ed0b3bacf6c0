"""A network's groups: traced, joined, verified; tried where there is no graph; the rest is listed with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..plan import UserError
from ..plan.errors import FAULTS
from ..spaces import Group, attention_of, copied, group_values, plain_attention
from .graph import DENSE, Candidate, Trace, rows_of, trace
from .grouped import joined
from .meeting import met, tied
from .passes import shared_layers
from .probe import Probe
from .verify import Verifier


@dataclass(frozen=True)
class Groups:
    """What can be pruned of a network.

    Attributes:
        groups: exact groups, in forward order.
        left: {name of a candidate: why it is left alone}.
        outputs: layers whose rows are outputs of the network.
        normalised: {layer: the BatchNorm that takes its output and nothing else}.
    """

    groups: tuple[Group, ...]
    left: dict[str, str]
    outputs: tuple[str, ...]
    normalised: dict[str, str]

    @property
    def reasons(self) -> str:
        """Where there are no groups: why, of some candidates."""
        some = "; ".join(f"{name}: {reason}" for name, reason in list(self.left.items())[:3])
        return f"no channels of it can be pruned exactly ({some})"

    def to_json(self) -> dict[str, Any]:
        """As plain values, which `TracedSpace.found` takes."""
        return {
            "groups": group_values(self.groups),
            "left": self.left,
            "outputs": list(self.outputs),
            "normalised": self.normalised,
        }


@dataclass(frozen=True)
class Wanted:
    """What may be pruned: nothing of the modules `kept`, residual streams where `streams`."""

    kept: Collection[str]
    streams: bool

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Give those that stay as they are, though they may be exact, their reason."""
        for each in candidates:
            each.reason = each.reason or self._unwanted(each)

    def _unwanted(self, candidate: Candidate) -> str | None:
        if candidate.adds and not self.streams:
            return "a residual stream"
        touched = (piece.module for piece in candidate.group.writes)
        if named := next((name for name in touched if name in self.kept), None):
            return f"{named} is ignored"
        return "it has one channel" if candidate.group.size < 2 else None


def find(network: nn.Module, example: tuple[Any, ...], kept: Collection[str], *, streams: bool, seed: int) -> Groups:
    """The groups of `network` (unchanged) that are exact.

    Args:
        network: in any mode.
        example: arguments of its forward pass, on the CPU.
        kept: names of modules that keep all their channels.
        streams: residual streams are groups too.
        seed: of the numbers that it is tried with.

    Raises UserError where neither a graph of the network nor trying finds candidates.
    """
    model = copied(network).cpu()
    model.eval()  # not in a chain: networks of MMDetection return nothing
    shared, wanted = shared_layers(model, example), Wanted(kept, streams)
    try:
        graph, fault = trace(model, example, shared), None
    except UserError as error:
        graph, fault = Trace([]), error
    candidates = _with_attention(network, joined(network, graph.candidates))
    wanted.check(candidates)
    verifier = Verifier(model, example, graph.normalised, seed=seed)
    exact = _verified(verifier, candidates)
    doubtful = _dense(network) if fault else {name for each in candidates if each.doubt for name in each.writers}
    if doubtful:
        tried = _tried(network, verifier, wanted, exact, doubtful, shared)
        solved = {name for each in tried if each.reason is None for name in each.writers}
        stale = solved | {name for each in candidates if each.output for name in each.writers & doubtful}
        known = [each for each in candidates if each.reason is None or stale.isdisjoint(each.writers)]
        named = {name for each in known for name in each.writers}
        candidates = known + [each for each in tried if each.reason is None or named.isdisjoint(each.writers)]
        exact = _together(verifier, network, candidates)
    if fault and not exact:
        raise fault
    return Groups(tuple(exact), _listed(candidates), _outputs(candidates), graph.normalised)


def _verified(verifier: Verifier, candidates: Sequence[Candidate]) -> list[Group]:
    """The groups of those of `candidates` without a reason that are exact; the others get theirs."""
    exact, reasons = verifier.verified([each.group for each in candidates if each.reason is None])
    for each in candidates:
        if each.reason is None and each.group.name in reasons:
            each.reason, each.doubt = reasons[each.group.name], True
    return exact


def _tried(
    network: nn.Module,
    verifier: Verifier,
    wanted: Wanted,
    exact: Sequence[Group],
    doubtful: Collection[str],
    shared: Mapping[str, str],
) -> list[Candidate]:
    """Candidates by trying, verified: of the layers `doubtful`, beside the groups that are `exact` already."""
    rows = {name: set[int]() for name in doubtful}
    for group in exact:
        for name in rows:
            rows[name] |= rows_of(group, name)
    try:
        found = met(Probe(verifier.model, verifier.example, verifier.generator), doubtful, shared)
    except FAULTS:
        return []  # it runs with numbers of its own alone, and what the graph says stands
    new = [each for each in found if all(rows[name].isdisjoint(rows_of(each.group, name)) for name in rows)]
    new = joined(network, new)
    wanted.check(new)
    _verified(verifier, new)
    failed = [each for each in new if each.doubt and each.reason is not None and each.group.reads]
    ties = [Candidate(group, doubt=True) for group in tied([each.group for each in failed])]
    _verified(verifier, ties)
    made = [each for each in ties if each.reason is None]
    tied_up = {name for each in made for name in each.writers}
    return [*made, *(each for each in new if each.reason is None or tied_up.isdisjoint(each.writers))]


def _together(verifier: Verifier, network: nn.Module, candidates: Sequence[Candidate]) -> list[Group]:
    """The groups of the candidates that are exact one by one, where they are so together, in forward order."""
    order = {name: i for i, (name, _) in enumerate(network.named_modules())}
    candidates = sorted(candidates, key=lambda each: order[each.root])
    return _verified(verifier, candidates)


def _dense(network: nn.Module) -> set[str]:
    return {name for name, module in network.named_modules() if isinstance(module, DENSE)}


def _outputs(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The layers all of whose rows nothing reads, each once."""
    read = {name for each in candidates if not each.output for name in each.writers}
    pieces = (piece for each in candidates if each.output for piece in each.group.writes)
    return tuple(dict.fromkeys(piece.module for piece in pieces if piece.axis == 0 and piece.module not in read))


def _listed(candidates: Sequence[Candidate]) -> dict[str, str]:
    """{name: reason} of those that have one; parts of one layer's channels with one reason are listed once, and so
    are more than three."""
    found: dict[str, str] = {}
    layers = Counter(each.root for each in candidates if each.reason is not None)
    for each in candidates:
        layer = each.root
        if layers[layer] > 3 and each.reason is not None:
            found.setdefault(layer, each.reason)
        elif each.reason is not None:
            found[layer if found.get(layer, each.reason) == each.reason else each.group.name] = each.reason
    return found


def _with_attention(network: nn.Module, candidates: Sequence[Candidate]) -> list[Candidate]:
    """`candidates`, and the dimensions of heads where attention is timm's, in place of what was traced through it."""
    found = list(candidates)
    for name, module in network.named_modules():
        if not (hasattr(module, "num_heads") and hasattr(module, "qkv")) or plain_attention(module) is not None:
            continue
        group = attention_of(name, module)
        at = next(
            (i for i, each in enumerate(found) if any(p.module == f"{name}.qkv" for p in each.group.writes)), len(found)
        )
        found = [each for each in found if all(piece.module != f"{name}.qkv" for piece in each.group.writes)]
        found.insert(at, Candidate(group))
    return found
