"""The small twin of table 4.4 for two cores: a Swin of 2.3 M parameters on CIFAR-100 at 32 pixels, patches of 2."""

_base_ = ["swin_2m_tiny_imagenet20.py"]

data = dict(_delete_=True, type="cifar100", root="data", input_size=32, augment="crop_flip")
space = dict(
    input_size=32,
    options=dict(patch_size=2, window_size=4, embed_dim=64, depths=(2, 2, 2), num_heads=(2, 4, 8), drop_path_rate=0.1),
)
