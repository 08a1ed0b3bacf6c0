"""A cell of NATS-Bench's space, searched on the digits in a minute or two: does everything work?"""

_base_ = ["../_base_/digits.py"]

data = dict(input_size=16, resize=16)
space = dict(type="nats_supernet", channels=4, layers=1)
search = dict(
    method=dict(type="rarts", order="fused"),
    epochs=12,
    batch_size=32,
    optimizer=dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=3e-4),
    alpha_optimizer=dict(type="Adam", lr=1e-2, betas=(0.5, 0.999), weight_decay=1e-3),
)
target = dict(channels=16, layers=1)
