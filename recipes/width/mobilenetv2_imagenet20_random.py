"""Table 4.2 of the thesis with random scores (give it the budget that the other runs found)."""

_base_ = ["mobilenetv2_imagenet20_rarts.py"]

search = dict(method=dict(_delete_=True, type="random"))
