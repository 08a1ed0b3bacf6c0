"""Table 4.2 of the thesis with first-order DARTS."""

_base_ = ["mobilenetv2_imagenet20_rarts.py"]

search = dict(method=dict(_delete_=True, type="darts1"))
