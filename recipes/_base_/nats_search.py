"""Search of a cell of NATS-Bench's space as the thesis has it (section 3.2.1): DARTS's rates, weight decay 5e-4."""

space = dict(type="nats_supernet", channels=16, layers=5)
search = dict(
    epochs=50,
    batch_size=64,
    optimizer=dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=5e-4),
    alpha_optimizer=dict(type="Adam", lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
)
target = dict(channels=16, layers=5)
