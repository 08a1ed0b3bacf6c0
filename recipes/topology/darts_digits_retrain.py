"""A genotype of DARTS's cells on handwritten digits, small enough for two cores: 3 cells of 8 channels, minutes.

All that the retraining for CIFAR-10 has: cutout, scheduled drop-path, the auxiliary head, clipped gradients.
"""

_base_ = ["../_base_/digits.py"]

_sgd = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=3e-4)

data = dict(cutout=8)
space = dict(type="darts_cells", channels=8, layers=3, auxiliary=True, drop_path=0.1, score_states=True)
train = dict(epochs=10, batch_size=64, optimizer=_sgd, warmup_epochs=1, clip_norm=5.0)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=4,
    batch_size=64,
    gamma=0.04,
    fixed_scale=True,
    optimizer=_sgd,
    alpha_optimizer=dict(type="SGD", lr=0.5, momentum=0.9),
)
# Multiples of 4, of which ONNX Runtime makes blocks; of 8 the narrow groups, of 8 channels, would lose none.
select = dict(round_to=4, floor=4)
finetune = dict(epochs=4, batch_size=64, optimizer=_sgd, clip_norm=5.0, distill=dict(temperature=4.0, weight=1.0))
