"""The small CIFAR-10 run with Network Slimming; it takes twice as many steps per epoch, so gamma is half as large."""

_base_ = ["preresnet20_cifar10_rarts.py"]

search = dict(method=dict(_delete_=True, type="netslim"), gamma=0.01, fixed_scale=False)
