"""The demo's twin with Network Slimming in place of RARTS."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="netslim"))
