"""Mask R-CNN on ResNet-50, from MMDetection's checkpoint of 12 epochs, fine-tuned on COCO for as many.

MMDetection's settings: SGD at 0.02, 16 images a step, rates divided by 10 after epochs 8 and 11. Scored are the two
inner widths of every bottleneck; the config freezes the stem and the first stage, which keep theirs. `batch_size` is
that of each process: with 8 of them start

    torchrun --nproc-per-node 8 tools/prune.py RECIPE --launcher pytorch --checkpoint F --macs-ratio 0.7

and on one GPU set search.batch_size=16 search.accumulate=8, and finetune.accumulate=8.
"""

custom_imports = dict(imports=["compress.detection"])

_sgd = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)

space = dict(type="detector", config="{{ fileDirname }}/mmdet/mask_rcnn_r50_coco.py")
data = dict(root="data/coco", input_size=(800, 1344), num_workers=2)
train = dict(epochs=12, batch_size=2, optimizer=_sgd, schedule="step", amp="bf16")
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=4,
    batch_size=2,
    gamma=1e-3,
    fixed_scale=True,
    optimizer=dict(type="SGD", lr=0.002, momentum=0.9, weight_decay=1e-4),
    alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    amp="bf16",
)
finetune = dict(epochs=12, batch_size=2, optimizer=_sgd, schedule="step", amp="bf16")
measure = dict(backends=["onnxruntime"])
