"""ONNX's reference evaluator as a backend: slow, exact, and the clock can be read around every node."""

from collections import Counter
from functools import partial
from time import perf_counter_ns

from compress.measure.backends import LayerBackend
from compress.measure.owners import REST, owner_of
from compress.plan.backends import BACKENDS


class Reference(LayerBackend):
    name, label, takes, packages = "reference", "ONNX's reference evaluator", "onnx", ("onnx",)

    def open(self, network, *, threads=1, batch=1, trust=False):
        from compress.measure.session import Session

        evaluator = _evaluator(network)
        (name,), (kind,) = evaluator.input_names, evaluator.input_types
        shape = tuple(size.dim_value for size in kind.tensor_type.shape.dim[1:])

        def bind(images):
            return lambda: evaluator.run(None, {name: images.numpy()})[0]

        return Session(network, self.name, bind, shape=shape)

    def profile(self, network, images, *, threads, space, operators):
        return NodeTimes(_evaluator(network), images.numpy())


class NodeTimes:
    def __init__(self, evaluator, images):
        self.call = partial(evaluator.run, None, {evaluator.input_names[0]: images})
        self.owners = [owner_of(node.onnx_node.name) or REST for node in evaluator.rt_nodes_]
        self.nodes = Counter(self.owners)
        self.spans = []
        for node in evaluator.rt_nodes_:
            node.run = partial(self._timed, node.run)

    def _timed(self, run, *inputs, **options):
        begin = perf_counter_ns()
        outputs = run(*inputs, **options)
        self.spans.append(perf_counter_ns() - begin)
        return outputs

    def finish(self, calls):
        times = Counter()
        for i, span in enumerate(self.spans[-calls * len(self.owners) :]):
            times[self.owners[i % len(self.owners)]] += span / calls
        return dict(times)


def _evaluator(network):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(network))


BACKENDS.add(Reference())
