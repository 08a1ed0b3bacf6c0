"""A twin of the full detector for two CPU cores: small Swin, small images, few proposals."""

_base_ = "cascade_mask_rcnn_swin_t_coco.py"


def _head(stds):
    """One stage's head: two linear layers, one box for all classes."""
    return dict(
        type="Shared2FCBBoxHead",
        in_channels=64,
        fc_out_channels=128,
        roi_feat_size=7,
        num_classes=80,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
        reg_class_agnostic=True,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
    )


def _stage(iou):
    """One stage's training settings: fewer samples than the full detector's."""
    thresholds = dict(pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou, match_low_quality=False, ignore_iof_thr=-1)
    sampler = dict(type="RandomSampler", num=64, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)
    return dict(
        assigner=dict(type="MaxIoUAssigner", **thresholds), sampler=sampler, mask_size=28, pos_weight=-1, debug=False
    )


_extractor = dict(out_channels=64, roi_layer=dict(sampling_ratio=2))
model = dict(
    backbone=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], drop_path_rate=0.0),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=_extractor,
        mask_roi_extractor=_extractor,
        bbox_head=[_head([0.1, 0.1, 0.2, 0.2]), _head([0.05, 0.05, 0.1, 0.1]), _head([0.033, 0.033, 0.067, 0.067])],
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=32),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=256, max_per_img=64),
        rcnn=[_stage(0.5), _stage(0.6), _stage(0.7)],
    ),
    test_cfg=dict(rpn=dict(nms_pre=256, max_per_img=64), rcnn=dict(max_per_img=100)),
)

train_pipeline = [  # without flips: a few hundred images are to be memorised
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(256, 256), keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(256, 256), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
