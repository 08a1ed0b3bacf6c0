"""The demo's twin with group lasso on the filters."""

_base_ = ["preresnet20_digits_rarts.py"]

search = dict(method=dict(_delete_=True, type="grouplasso"), gamma=1e-3, alpha_optimizer=dict(weight_decay=1e-4))
