"""MMDetection's detectors: backbones in their registry at any widths, and pruning runs for whole detectors.

Importing this package makes MMDetection usable where MMCV has no compiled operators (`operators`), so it comes before
`mmdet` in a program, and registers `SlicedSwinTransformer` and `SlicedBackbone`. Recipes and MMDetection's configs load
it with `custom_imports = dict(imports=["compress.detection"])`.
"""

import contextlib
import io
import warnings

from ..plan import needs
from .operators import install

needs("mmcv", package="MMCV", extra="detection", what="a detector")
install()
# MMDetection asks for an optional package, and its mask heads copy tensors as PyTorch advises against, image by image.
warnings.filterwarnings("ignore", "faster_coco_eval is not installed", UserWarning, module="mmdet")
warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning, module="mmdet")
with contextlib.redirect_stdout(io.StringIO()):  # MMDetection prints which optional packages it did not find
    needs("mmdet.datasets", package="MMDetection", extra="detection", what="a detector")

from .recipe import DetectionRecipe  # noqa: E402
from .run import DetectionContext  # noqa: E402
from .space import DetectorSpace  # noqa: E402
from .swin import SlicedSwinTransformer  # noqa: E402

__all__ = ["DetectionContext", "DetectionRecipe", "DetectorSpace", "SlicedSwinTransformer", "install"]
