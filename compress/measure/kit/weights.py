"""One file of weights for networks of all widths: a kit is then as large as its largest network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..graphs import WidthGraphs

WEIGHTS = "weights.bin"

LEAST_BYTES = 1024
"""Smaller tensors stay in the .onnx files: shapes are among them, which engines want to see at once."""

ALIGNED = 4096
"""Where tensors begin, so that engines may map the file into memory."""


class SharedWeights:
    """Graphs at any widths that take their large tensors from one file, `folder`/weights.bin.

    A narrower tensor is the beginning of the full one's bytes: weights of timed networks are random, and whatever part
    of them is taken, they are of the same kind. `batch`: images of one call, which the graphs are made for.

    Example::

        SharedWeights(graphs, folder, batch=1).write("half", {"layer2.0.conv1": 16})  # folder/half.onnx
    """

    def __init__(self, graphs: WidthGraphs, folder: Path, *, batch: int) -> None:
        self.graphs, self.folder, self.batch = graphs, folder, batch
        self.offsets: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / WEIGHTS, "wb") as file:
            for name, tensor in graphs.tensors.items():
                if tensor.nbytes >= LEAST_BYTES:
                    self.offsets[name] = file.tell()
                    file.write(np.ascontiguousarray(tensor).tobytes())
                    file.write(b"\0" * (-file.tell() % ALIGNED))

    def write(self, name: str, widths: dict[str, int]) -> Path:
        """Write the graph at `widths` {group: channels} to `name`.onnx; its path."""
        from onnx import ModelProto, TensorProto, external_data_helper

        model = ModelProto.FromString(self.graphs.at(widths))
        for tensor in model.graph.initializer:
            if tensor.name in self.offsets:
                length = len(tensor.raw_data)
                external_data_helper.set_external_data(tensor, WEIGHTS, offset=self.offsets[tensor.name], length=length)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
        free = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a detector's batch is fixed
        for value in (*model.graph.input, *model.graph.output):
            for size in value.type.tensor_type.shape.dim:
                if free and size.dim_param == free:
                    size.dim_value = self.batch
        path = self.folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        return path
