"""A folder of 20 ImageNet classes (train/ and val/ with a folder per class), as in the thesis's table 4.2."""

data = dict(type="imagefolder", root="data/imagenet20", input_size=224, resize=256, num_workers=8)
