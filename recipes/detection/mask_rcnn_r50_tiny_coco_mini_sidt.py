"""The twin of Mask R-CNN on ResNet-50 for two CPU cores, on a few hundred images of COCO."""

custom_imports = dict(imports=["compress.detection"])

space = dict(type="detector", config="{{ fileDirname }}/mmdet/mask_rcnn_r50_tiny_coco_mini.py")
data = dict(root="data/coco", input_size=(256, 256), limit=120, watch=16, evaluate_train=True)
train = dict(epochs=100, batch_size=4, optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05), warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=4,
    batch_size=4,
    gamma=0.03,
    fixed_scale=True,
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.05),
    alpha_optimizer=dict(type="SGD", lr=0.5, momentum=0.9),
)
finetune = dict(epochs=8, batch_size=4, optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.05))
measure = dict(backends=["onnxruntime"])
