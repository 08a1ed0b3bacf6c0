"""The demo's twin with a Swin of 0.15 M parameters on the digits: dimension search in minutes."""

_base_ = ["../_base_/digits.py"]

_adamw = dict(type="AdamW", lr=2e-3, weight_decay=0.05)

space = dict(
    type="swin",
    model="swin_tiny_patch4_window7_224",
    input_size=32,
    options=dict(patch_size=4, window_size=4, embed_dim=32, depths=(2, 2), num_heads=(2, 4), drop_path_rate=0.0),
)
train = dict(epochs=40, batch_size=32, optimizer=_adamw, warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=10,
    batch_size=32,
    gamma=0.0095,
    fixed_scale=True,
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
    # A dimension moves the loss little: at a rate of 0.05 the penalty decided alone, and 40 % cost half the accuracy.
    alpha_optimizer=dict(type="SGD", lr=0.5, momentum=0.9),
)
# Heads and MLPs in multiples of 8: other widths cost more time in ONNX Runtime than their MACs save.
select = dict(round_to=8, floor=8)
finetune = dict(
    epochs=10,
    batch_size=32,
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
    warmup_epochs=1,
    distill=dict(temperature=4.0, weight=1.0),
)
