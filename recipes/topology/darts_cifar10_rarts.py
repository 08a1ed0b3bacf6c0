"""DARTS cells on CIFAR-10, searched by RARTS, Algorithm 2 of the thesis."""

_base_ = ["../_base_/cifar10.py", "../_base_/darts_search.py"]

search = dict(method=dict(type="rarts", order="gauss-seidel", lam=1.0, beta=1.0))
