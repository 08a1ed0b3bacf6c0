"""The exporter's optimiser, looking for a pattern only where its end may stand.

onnxscript tries every rule of its optimiser at every node. A rule whose pattern has several outputs begins, at each of
them, with a list of all nodes of the graph: thousands of nodes of a detector take more time so than all that is before
them. A pattern whose first output is computed by another operator than the node's is refused here at once, as it is
there in the end. The files are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

KNOWN = "0.7."
"""Versions of onnxscript whose matcher is the one that this knows; others look everywhere."""


@contextmanager
def quick_matching() -> Iterator[None]:
    """Within it, onnxscript's patterns are compared with a node by their operator first, in the versions KNOWN.

    Example::

        with quick_matching():
            program = torch.onnx.export(model.eval(), (images,), dynamo=True, verbose=False)
    """
    if not version("onnxscript").startswith(KNOWN):
        yield
        return
    from onnxscript.rewriter import MatchResult
    from onnxscript.rewriter.pattern import SimplePatternMatcher

    matcher: Any = SimplePatternMatcher
    whole = matcher.match

    def match(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        end = self.pattern.output_nodes[0].op_identifier()  # (domain, operator, overload); None: one of several
        if end is not None and end[:2] != (node.domain, node.op_type):
            return MatchResult().fail("The node has another operator.")
        return whole(self, model, graph, node, **options)

    matcher.match = match
    try:
        yield
    finally:
        matcher.match = whole
