"""DARTS cells on CIFAR-10, searched by second-order DARTS."""

_base_ = ["../_base_/cifar10.py", "../_base_/darts_search.py"]

search = dict(method=dict(type="darts2"))
