"""A detector whose backbone and neck compute with 8-bit integers; what chooses and reads boxes stays in float32."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...export.int8 import Feed, Int8Config, check_float, quantised, record_of, write_int8
from ...export.onnx_read import check_other, read_onnx
from ...plan import UserError
from .convert import INPUTS

PREFIX = "int8/"
"""Before the names of all that is quantised."""
DEFAULT = "ai.onnx"
"""The long name of ONNX's own domain, which ONNX Runtime's quantiser writes."""


class Feeds(Sequence[Feed]):
    """What a file takes for each of `samples`, made by `feed` when it is asked for: images are large.

    Example::

        feeds = Feeds(["street.jpg", "park.jpg"], lambda name: {"images": name.upper()})  # read and normalised, that is
        feeds[1]["images"]  # "PARK.JPG"
    """

    def __init__(self, samples: Sequence[Any], feed: Callable[[Any], Feed]) -> None:
        self.samples, self.feed = samples, feed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        return {INPUTS[0]: self.feed(self.samples[index])[INPUTS[0]]}


def quantize_detector(
    source: str | Path, path: str | Path, feeds: Sequence[Feed], *, config: Int8Config | None = None
) -> Path:
    """Write the float32 file `source` of `export_detector`, backbone and neck quantised to 8 bits, at `path`.

    Ranges are measured on these alone, so calibration does not wait for the heads. RPN and heads read the maps in
    float32: overlaps and scores that lie close decide what is found. UserError without feeds, and for a `source` that
    is no float32 file for images of one size.

    Args:
        source: a file of `export_detector`, for images of one size.
        path: the file to write.
        feeds: {"images": float32 [B, 3, H, W]} of each calibration call, of training images.
        config: how to quantise; None: the defaults.

    Example::

        quantize_detector("detector.onnx", "detector.int8.onnx", [{"images": images}])
    """
    from onnx import compose, helper, shape_inference
    from onnx.utils import Extractor

    source, config = Path(source), config or Int8Config()
    proto = read_onnx(source, weights=True)
    check_other(path, source)
    check_float(proto, source)
    told = {entry.key: entry.value for entry in proto.metadata_props}
    maps = json.loads(told.get("detector", "{}")).get("maps")
    if not maps:
        raise UserError(
            f"{source}: does not tell the maps that leave its neck; export the detector again, for one size"
        )
    if not feeds:
        raise UserError("feeds: none; some hundred training images are needed to measure ranges")
    parts = Extractor(shape_inference.infer_shapes(proto))
    front = parts.extract_model([INPUTS[0]], maps)
    heads = parts.extract_model([*maps, *INPUTS[1:]], [output.name for output in proto.graph.output])
    small = quantised(front, feeds, config=config, source=source)
    small.ir_version = heads.ir_version
    own = compose.add_prefix(small, PREFIX, rename_inputs=False)
    result = compose.merge_models(own, heads, io_map=[(PREFIX + name, name) for name in maps])
    versions = {entry.domain if entry.domain != DEFAULT else "": entry.version for entry in result.opset_import}
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    del result.opset_import[:]
    result.opset_import.extend(opsets)
    return write_int8(result, path, proto, record_of(front, config, images=len(feeds)) | {"of": "backbone and neck"})
