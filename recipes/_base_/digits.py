"""scikit-learn's handwritten digits (8 x 8, 10 classes, 1,797 images), shown at 32 x 32; nothing to download."""

data = dict(type="digits", input_size=32)
