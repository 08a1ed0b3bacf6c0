"""Table 4.5 of the thesis: Swin-T on 20 ImageNet classes; prune with --pruning-ratio 0.2, 0.4, 0.6 or 0.8."""

_base_ = ["../_base_/imagenet20.py", "../_base_/sidt.py"]

space = dict(type="swin", model="swin_tiny_patch4_window7_224", options=dict(drop_path_rate=0.2))
