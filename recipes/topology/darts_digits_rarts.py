"""DARTS cells on the digits, small enough for two cores: some minutes, then `retrain` with darts_digits_retrain."""

_base_ = ["../_base_/digits.py"]

data = dict(input_size=16, resize=16)
space = dict(type="darts_supernet", channels=4, layers=3)
search = dict(
    method=dict(type="rarts", order="fused"),
    epochs=8,
    batch_size=32,
    optimizer=dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=3e-4),
    alpha_optimizer=dict(type="Adam", lr=1e-2, betas=(0.5, 0.999), weight_decay=1e-3),
)
target = dict(channels=8, layers=3)
