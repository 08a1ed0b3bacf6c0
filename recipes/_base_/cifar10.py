"""CIFAR-10 as torchvision stores it; `data.download=True` fetches it once, or point `data.root` at a copy."""

data = dict(type="cifar10", root="data", input_size=32, augment="crop_flip")
