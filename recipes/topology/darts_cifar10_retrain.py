"""A genotype of DARTS's cells on CIFAR-10: 20 cells of 36 channels, trained for 600 epochs (thesis, section 3.2).

`--genotype` says which; the published one of DARTS's second order unless given. What it makes can be pruned by width.
"""

_base_ = ["../_base_/cifar10.py"]

_sgd = dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=3e-4)

data = dict(cutout=16)
space = dict(type="darts_cells", channels=36, layers=20, auxiliary=True, drop_path=0.2, score_states=True)
train = dict(epochs=600, batch_size=96, optimizer=_sgd, clip_norm=5.0)
search = dict(epochs=60, batch_size=64, optimizer=_sgd, alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
# Multiples of 8: other widths cost more time in ONNX Runtime than their MACs save.
select = dict(round_to=8, floor=8)
finetune = dict(epochs=60, batch_size=96, optimizer=_sgd, clip_norm=5.0)
