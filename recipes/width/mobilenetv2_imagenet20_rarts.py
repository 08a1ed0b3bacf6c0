"""Table 4.2 of the thesis: MobileNetV2 on ImageNet-20, free ratio: the proximal l1 makes scores exactly zero."""

_base_ = ["../_base_/imagenet20.py"]

_sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)

space = dict(type="mobilenetv2", multiplier=1.0)
select = dict(round_to=1)  # any width, as in the thesis; the default is the engine's block
train = dict(epochs=160, batch_size=64, optimizer=_sgd, schedule="step")
search = dict(
    method=dict(type="rarts", order="gauss-seidel", lam=1.0, beta=1.0),
    epochs=160,
    batch_size=64,
    gamma=1e-3,
    penalty="proximal",
    optimizer=_sgd,
    alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    schedule="step",
)
finetune = dict(epochs=160, batch_size=64, optimizer=_sgd, schedule="step")
