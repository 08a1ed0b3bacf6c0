"""PreResNet-20 on 15,000 CIFAR-10 images, small enough for two cores: about half an hour of search and fine-tuning.

Rate of the scores and strength (7) are those that did best on held-out images at 0.4 and 0.25 of the MACs
(docs/results/rivals.md).
"""

_base_ = ["../_base_/cifar10.py"]

_sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4)

data = dict(limit=15000)
space = dict(type="preresnet", depth=20)
train = dict(epochs=20, batch_size=64, optimizer=_sgd, warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=6,
    batch_size=64,
    gamma=0.004,
    fixed_scale=True,
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4),
    alpha_optimizer=dict(type="SGD", lr=0.5, momentum=0.9),
)
finetune = dict(
    epochs=6,
    batch_size=64,
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4),
    distill=dict(temperature=4.0, weight=1.0),
)
