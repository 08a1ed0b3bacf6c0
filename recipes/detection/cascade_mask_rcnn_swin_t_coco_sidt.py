"""Table 4.6: Cascade Mask R-CNN on Swin-T, from a published detector's checkpoint, fine-tuned on COCO for 36 epochs.

The Swin paper's settings: AdamW at 1e-4, weight decay 0.05, 16 images a step, multi-scale training, rates divided by 10
after epochs 27 and 33. `batch_size` is that of each process: with 8 of them start

    torchrun --nproc-per-node 8 tools/prune.py RECIPE --launcher pytorch --checkpoint F --pruning-ratio 0.2

and on one GPU set search.batch_size=16 search.accumulate=8, and finetune.accumulate=8. Prune with --pruning-ratio 0.2
or 0.4; a second ratio takes the first run's scores by --search-from.
"""

custom_imports = dict(imports=["compress.detection"])

_adamw = dict(type="AdamW", lr=1e-4, weight_decay=0.05)

space = dict(type="detector", config="{{ fileDirname }}/mmdet/cascade_mask_rcnn_swin_t_coco.py")
data = dict(root="data/coco", input_size=(800, 1344), num_workers=2)
train = dict(epochs=36, batch_size=2, optimizer=_adamw, schedule="step", amp="bf16")
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=12,
    batch_size=2,
    gamma=1e-3,
    fixed_scale=True,
    optimizer=_adamw,
    alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    amp="bf16",
)
finetune = dict(epochs=36, batch_size=2, optimizer=_adamw, schedule="step", amp="bf16")
select = dict(ranking="kind", round_to=1)  # any width, as in the thesis
measure = dict(backends=["onnxruntime"])
