"""The thesis's settings for widths (section 4.2), which are NetSlim's."""

_sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)

select = dict(round_to=1)  # any width, as in the thesis; the default is the engine's block
train = dict(epochs=160, batch_size=64, optimizer=_sgd, schedule="step")
search = dict(
    epochs=160,
    batch_size=64,
    gamma=1e-4,
    optimizer=_sgd,
    alpha_optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    schedule="step",
)
finetune = dict(epochs=160, batch_size=64, optimizer=_sgd, schedule="step", distill=dict(temperature=4.0, weight=1.0))
