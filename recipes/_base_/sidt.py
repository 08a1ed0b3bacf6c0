"""The thesis's settings for dimension search (section 4.3): AdamW at 2.5e-4, batch 256, 160 epochs, l1 of 1e-4.

The pruned network is trained again from its warm start with the same settings.
"""

_adamw = dict(type="AdamW", lr=2.5e-4, weight_decay=0.05)

select = dict(round_to=1)  # any width, as in the thesis; the default is the engine's block
train = dict(epochs=160, batch_size=256, optimizer=_adamw, warmup_epochs=5, label_smoothing=0.1)
search = dict(
    method=dict(type="rarts", order="gauss-seidel", lam=1.0, beta=1.0),
    epochs=160,
    batch_size=256,
    gamma=1e-4,
    optimizer=_adamw,
    alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    warmup_epochs=5,
    label_smoothing=0.1,
)
finetune = dict(epochs=160, batch_size=256, optimizer=_adamw, warmup_epochs=5, label_smoothing=0.1)
