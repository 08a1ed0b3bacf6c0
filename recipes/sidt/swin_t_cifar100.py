"""Table 4.4 of the thesis: Swin-T on CIFAR-100 at 224 pixels; prune with --pruning-ratio 0.2, 0.4, 0.6 or 0.8."""

_base_ = ["../_base_/cifar100.py", "../_base_/sidt.py"]

data = dict(input_size=224, resize=224, num_workers=8)
space = dict(type="swin", model="swin_tiny_patch4_window7_224", options=dict(drop_path_rate=0.2))
