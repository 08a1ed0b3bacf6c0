"""Search of DARTS cells as the thesis has it (section 3.2.1): 8 cells of 16 channels, 50 epochs, rates of DARTS."""

space = dict(type="darts_supernet", channels=16, layers=8)
search = dict(
    epochs=50,
    batch_size=64,
    optimizer=dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=3e-4),
    alpha_optimizer=dict(type="Adam", lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
)
target = dict(channels=36, layers=20)
