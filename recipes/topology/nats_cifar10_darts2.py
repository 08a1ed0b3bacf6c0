"""A cell of NATS-Bench's space on CIFAR-10, searched by second-order DARTS."""

_base_ = ["../_base_/cifar10.py", "../_base_/nats_search.py"]

search = dict(method=dict(type="darts2"))
