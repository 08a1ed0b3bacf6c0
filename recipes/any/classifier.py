"""Any classifier on a folder of images, one folder a class: choose the network and the data by --cfg-options.

--cfg-options space.model=resnet50                 of timm's list
--cfg-options space.model=torchvision:resnet18     of torchvision's
--cfg-options space.model=my_net.py:make           yours: `make(num_classes=...)` of my_net.py
"""

_sgd = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)

space = dict(type="traced", model="resnet18")
data = dict(type="imagefolder", root="data/images", input_size=224, augment="auto")
train = dict(epochs=10, batch_size=64, optimizer=_sgd, warmup_epochs=1)
search = dict(
    method=dict(type="rarts", order="fused", lam=1.0, beta=1.0),
    epochs=5,
    batch_size=64,
    gamma=0.03,
    optimizer=_sgd,
    alpha_optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
)
select = dict(floor=8, gain="balanced")
finetune = dict(epochs=10, batch_size=64, optimizer=_sgd, distill=dict(temperature=4.0, weight=1.0))
