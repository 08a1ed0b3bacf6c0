"""A cell of NATS-Bench's space on CIFAR-100, searched by first-order MiLeNAS."""

_base_ = ["../_base_/cifar100.py", "../_base_/nats_search.py"]

search = dict(method=dict(type="milenas1", lam=1.0))
