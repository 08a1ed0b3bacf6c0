"""Mask R-CNN on ResNet-50 with a feature pyramid, MMDetection's config of 12 epochs (He et al., arXiv 1703.06870)."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["compress.detection"], allow_failed_imports=False)
