"""MMDetection's config of the detector for drawn_detection.py's images: the twin with six classes, for 128 pixels.

Windows of 4 divide all its maps; anchors fit the objects, which are about as high as wide; proposals are as many as few
objects need; images are flipped, which no class minds.
"""

# ruff: noqa: C408

_base_ = "../recipes/detection/mmdet/cascade_mask_rcnn_swin_tiny_coco_mini.py"

_classes = ("disc", "ring", "square", "triangle", "cross", "star")
_channels = 32
_base = _base_.model
_heads = [dict(head, in_channels=_channels, num_classes=len(_classes)) for head in _base.roi_head.bbox_head]
_extractor = dict(out_channels=_channels, roi_layer=dict(sampling_ratio=1))
model = dict(
    backbone=dict(window_size=4),
    neck=dict(out_channels=_channels),
    rpn_head=dict(
        in_channels=_channels, feat_channels=_channels, anchor_generator=dict(scales=[4, 5.65], ratios=[1.0])
    ),
    roi_head=dict(
        bbox_roi_extractor=_extractor,
        mask_roi_extractor=_extractor,
        bbox_head=_heads,
        mask_head=dict(in_channels=_channels, conv_out_channels=16, num_classes=len(_classes)),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=128, max_per_img=32),
        rcnn=[dict(stage, sampler=dict(stage.sampler, num=32)) for stage in _base.train_cfg.rcnn],
    ),
    test_cfg=dict(rpn=dict(nms_pre=128, max_per_img=32), rcnn=dict(max_per_img=20)),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(128, 128), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, metainfo=dict(classes=_classes)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, metainfo=dict(classes=_classes)))
test_dataloader = val_dataloader
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
