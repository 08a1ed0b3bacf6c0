"""The small twin of table 4.5 for two cores: a Swin of 2.3 M parameters on 20 Tiny-ImageNet classes at 64 pixels.

Windows of 4 on grids of 16, 8 and 4: the first two stages shift them. Prune with --pruning-ratio 0.2, 0.4, 0.6 or 0.8.
"""

_base_ = ["../_base_/tiny_imagenet20.py"]

_adamw = dict(type="AdamW", lr=1e-3, weight_decay=0.05)

space = dict(
    type="swin",
    model="swin_tiny_patch4_window7_224",
    input_size=64,
    options=dict(window_size=4, embed_dim=64, depths=(2, 2, 2), num_heads=(2, 4, 8), drop_path_rate=0.1),
)
train = dict(epochs=40, batch_size=64, optimizer=_adamw, warmup_epochs=2, label_smoothing=0.1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=8,
    batch_size=64,
    gamma=0.0052,
    fixed_scale=True,
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
    alpha_optimizer=dict(type="SGD", lr=0.5, momentum=0.9),  # see swin_digits.py
    label_smoothing=0.1,
)
finetune = dict(
    epochs=10,
    batch_size=64,
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
    warmup_epochs=1,
    label_smoothing=0.1,
    distill=dict(temperature=4.0, weight=1.0),
)
