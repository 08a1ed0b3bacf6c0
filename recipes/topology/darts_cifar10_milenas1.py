"""DARTS cells on CIFAR-10, searched by first-order MiLeNAS."""

_base_ = ["../_base_/cifar10.py", "../_base_/darts_search.py"]

search = dict(method=dict(type="milenas1", lam=1.0))
