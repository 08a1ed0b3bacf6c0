"""A folder of 20 Tiny-ImageNet classes at 64 pixels (train/ and val/ with a folder per class)."""

data = dict(type="imagefolder", root="data/tiny-imagenet-20", input_size=64, augment="crop_flip")
