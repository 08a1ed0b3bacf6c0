"""A genotype of DARTS's cells on ImageNet: 14 cells of 48 channels, trained for 250 epochs (thesis, section 3.2).

The auxiliary head and label smoothing are those of DARTS, which the thesis follows; `data.root` is a folder with
train/ and val/, and in them a folder per class.
"""

_sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=3e-5)

data = dict(type="imagefolder", root="data/imagenet", input_size=224, resize=256, num_workers=8)
space = dict(type="darts_cells", channels=48, layers=14, stem="imagenet", auxiliary=True, score_states=True)
train = dict(epochs=250, batch_size=128, optimizer=_sgd, clip_norm=5.0, label_smoothing=0.1)
search = dict(epochs=25, batch_size=128, optimizer=_sgd, alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
# Multiples of 8: other widths cost more time in ONNX Runtime than their MACs save.
select = dict(round_to=8, floor=8)
finetune = dict(epochs=25, batch_size=128, optimizer=_sgd, clip_norm=5.0, label_smoothing=0.1)
