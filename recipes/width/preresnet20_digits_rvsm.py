"""The demo's twin with relaxed variable splitting (l1): scores at or below gamma / beta are exactly zero."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="rvsm", penalty="l1", beta=1.0))
