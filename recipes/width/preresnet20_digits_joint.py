"""The demo's twin with joint training of weights and gates."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="joint"))
