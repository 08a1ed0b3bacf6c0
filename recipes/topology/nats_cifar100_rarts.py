"""A cell of NATS-Bench's space on CIFAR-100, searched by RARTS, Algorithm 2 of the thesis."""

_base_ = ["../_base_/cifar100.py", "../_base_/nats_search.py"]

search = dict(method=dict(type="rarts", order="gauss-seidel", lam=1.0, beta=1.0))
