"""Table 4.1 of the thesis: PreResNet-164 on CIFAR-100, searched by RARTS."""

_base_ = ["../_base_/cifar100.py", "../_base_/netslim_schedule.py"]

space = dict(type="preresnet", depth=164, score_inputs=True)
search = dict(method=dict(type="rarts", order="gauss-seidel", lam=1.0, beta=1.0))
