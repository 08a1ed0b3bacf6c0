"""The demo's twin with first-order MiLeNAS."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="milenas1"))
