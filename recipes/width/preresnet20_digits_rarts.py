"""The demo: PreResNet-20 on the digits, minutes on two cores; search strength (gamma, epochs, rate) as the thesis."""

_base_ = ["../_base_/digits.py"]

_sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)

# The digits have 8 x 8 pixels: these are enough, and take 0.4 of the time of 32 x 32.
data = dict(input_size=20, resize=20)
space = dict(type="preresnet", depth=20)
train = dict(epochs=8, batch_size=32, optimizer=_sgd, warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=6,
    batch_size=32,
    gamma=0.05,
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4),
    alpha_optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
)
# Multiples of 8: other widths cost more time in ONNX Runtime than their MACs save.
select = dict(round_to=8, floor=8)
finetune = dict(
    epochs=6,
    batch_size=32,
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4),
    distill=dict(temperature=4.0, weight=1.0),
)
