"""Table 4.1 of the thesis: PreResNet-164 on CIFAR-100, searched by Network Slimming."""

_base_ = ["preresnet164_cifar100_rarts.py"]

search = dict(method=dict(_delete_=True, type="netslim"))
