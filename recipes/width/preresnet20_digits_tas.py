"""The demo's twin with TAS: candidate widths, Gumbel sampling, a FLOPs loss aimed at the MACs of the demo's plan."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(
    method=dict(_delete_=True, type="tas", target=0.55),
    gamma=0.0,
    alpha_optimizer=dict(_delete_=True, type="Adam", lr=0.02, betas=(0.5, 0.999)),
)
