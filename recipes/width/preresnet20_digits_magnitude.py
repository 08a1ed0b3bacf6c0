"""The demo's twin with magnitude scores: no search at all."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="magnitude"))
