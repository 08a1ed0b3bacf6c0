"""The demo's twin with WDPruning: learnable saliencies and thresholds, aimed at the MACs of the demo's plan."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(
    method=dict(_delete_=True, type="wdpruning", target=0.55, start=3.0),
    gamma=0.0,
    alpha_optimizer=dict(_delete_=True, type="Adam", lr=0.05),
)
