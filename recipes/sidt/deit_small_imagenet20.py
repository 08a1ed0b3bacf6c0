"""DeiT-S on 20 ImageNet classes with the settings of table 4.5."""

_base_ = ["../_base_/imagenet20.py", "../_base_/sidt.py"]

space = dict(type="vit", model="deit_small_patch16_224", options=dict(drop_path_rate=0.1))
