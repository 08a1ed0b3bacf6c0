"""The small twin of table 4.2 for two cores: MobileNetV2 x 0.5 on 20 Tiny-ImageNet classes, free ratio."""

_base_ = ["../_base_/tiny_imagenet20.py"]

_sgd = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)

space = dict(type="mobilenetv2", multiplier=0.5)
train = dict(epochs=30, batch_size=64, optimizer=_sgd, warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=10,
    batch_size=64,
    gamma=0.2,
    penalty="proximal",
    optimizer=_sgd,
    alpha_optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
)
finetune = dict(epochs=15, batch_size=64, optimizer=_sgd, distill=dict(temperature=4.0, weight=1.0))
