"""TensorRT's and trtexec's files, written by hand as NVIDIA documents them: no GPU takes part."""

import json

import pytest

from compress.measure.owners import REST
from compress.measure.tensorrt_layers import (
    parse_layers,
    read_layers,
    read_profile,
    read_times,
    region_times,
    regions_of,
)
from compress.plan import UserError

OWNERS = {f"{name}#{i}": name for i, name in enumerate(("conv1", "conv2", "conv2", "down", "fc"))} | {"x#9": REST}


def ports(names):
    return [{"Name": name, "Dimensions": [1, 16, 32, 32], "Format/Datatype": "Row major linear FP32"} for name in names]


def layer(name, *nodes, reads=(), makes=()):
    """A layer, as an inspector tells it."""
    return {
        "Name": name,
        "LayerType": "CaskConvolution",
        "Inputs": ports(reads),
        "Outputs": ports(makes),
        "ParameterType": "Convolution",
        "TacticName": "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32",
        "StreamId": 0,
        "Metadata": "\x1e".join("\x1f".join(f"[ONNX Layer: {each}]" for each in part.split()) for part in nodes),
    }


COPY = "Reformatting CopyNode for Input Tensor 0 to conv1#0"
LAYERS = [
    layer(COPY, reads=["images"], makes=["Reformatted images"]),
    layer("conv1#0", "conv1#0", reads=["Reformatted images"], makes=["conv1#0.0"]),
    layer("conv2#1 + down#3 + conv2#2", "conv2#1 conv2#2", "down#3 x#9", reads=["conv1#0.0"], makes=["conv2#2.0"]),
    layer("fc#4_gemm", "fc#4", reads=["conv2#2.0"], makes=["__mye7"]),
    layer("__myl_Cast_myl0_1", reads=["__mye7"], makes=["logits"]),
]
PROFILE = [
    {"count": 400},
    {"name": COPY, "timeMs": 4.0, "averageMs": 0.01, "medianMs": 0.009, "percentage": 1.2},
    {"name": "conv1#0", "timeMs": 40.0, "averageMs": 0.1, "medianMs": 0.09, "percentage": 12},
    {"name": "conv2#1 + down#3 + conv2#2", "timeMs": 80.0, "averageMs": 0.2, "percentage": 24},
    {"name": "fc#4_gemm", "timeMs": 8.0, "averageMs": 0.02, "medianMs": 0.02, "percentage": 2},
    {"name": "fc#4_gemm", "timeMs": 4.0, "averageMs": 0.01, "medianMs": 0.01, "percentage": 1},
    {"name": "__myl_Cast_myl0_1", "timeMs": 0, "averageMs": 0, "medianMs": 0, "percentage": 0},
]


@pytest.fixture
def written(tmp_path):
    """Writes values as JSON; gives the file."""

    def write(value):
        (tmp_path / "file.json").write_text(json.dumps(value))
        return tmp_path / "file.json"

    return write


def found(written, layers=LAYERS, owners=OWNERS):
    return regions_of(
        read_layers(written({"Layers": layers, "Bindings": ["images", "logits"]})), owners, source="l.json"
    )


def test_layers_hold_the_nodes_of_their_metadata(written):
    assert list(found(written).values()) == ["conv1", "conv1", "conv2 + down", "fc", "fc"], (
        "the rest's node is nobody's"
    )
    text = json.dumps({"Layers": LAYERS})
    assert parse_layers(text, source="engine") == read_layers(written({"Layers": LAYERS}))


def test_times_are_those_of_regions(written):
    times = region_times(found(written), read_profile(written(PROFILE)), source="p.json")
    assert times == {"conv1": pytest.approx(0.099), "conv2 + down": pytest.approx(0.2), "fc": pytest.approx(0.03)}


def test_layers_of_one_name_are_one(written):
    twice = [*LAYERS[:3], layer("fc#4_gemm", reads=["conv2#2.0"], makes=["y"]), layer("fc#4_gemm", "fc#4", reads=["y"])]
    assert found(written, twice)["fc#4_gemm"] == "fc"


def test_whole_calls(written):
    spans = {"startH2dMs": 0, "endH2dMs": 1, "startComputeMs": 1, "h2dMs": 1, "d2hMs": 1}
    calls = [{**spans, "endComputeMs": 1 + ms, "computeMs": ms, "latencyMs": ms + 2} for ms in (0.81, 0.8)]
    assert read_times(written(calls)) == [0.81, 0.8]
    with pytest.raises(UserError, match=r"file\.json: 0\.computeMs is missing; export it again with --exportTimes"):
        read_times(written([{"latencyMs": 1.0}]))


def test_one_layer_for_everything_is_for_whole_calls(written):
    owners = {f"conv{i}#{i}": f"conv{i}" for i in range(9)}
    whole = "{ForeignNode[conv0#0...conv8#8]}"
    with pytest.raises(
        UserError, match=r"^l\.json: latency table: the engine tells one time for 9 layers \(conv0, conv1"
    ):
        found(written, [layer(whole, " ".join(owners), reads=["images"], makes=["logits"])], owners)
    with pytest.raises(UserError, match=r"^l\.json: no layer holds nodes of 9 operators .*conv0.* with --way totals$"):
        found(written, [layer(whole, reads=["images"], makes=["logits"])], owners)


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            ["conv1#0", "conv2#1"],
            r"must tell more of layers than their names; build with --profilingVerbosity=detailed",
        ),
        ([], "at least 1 item"),
        ([{"LayerType": "Reformat"}], "Name"),
        ([{"Name": "a", "Metadata": 3}], "Metadata"),
    ],
)
def test_layers_that_do_not_serve(written, layers, says):
    with pytest.raises(UserError, match=rf"file\.json: .*{says}"):
        read_layers(written({"Layers": layers}))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"count": 3}], "at least 2"),
        ([{"count": 3}, {"name": "a"}], "must have count, or name and averageMs"),
        ([{"count": 3}, {"name": "a", "averageMs": -1.0}], "averageMs"),
        ({"name": "a"}, "valid array"),
    ],
)
def test_profiles_that_do_not_serve(written, entries, says):
    with pytest.raises(UserError, match=rf"file\.json: .*{says}.*export it again with --exportProfile$"):
        read_profile(written(entries))


def test_times_of_another_engine_are_refused(written):
    with pytest.raises(UserError, match=r"^p\.json: tells of a layer 'other', which the engine has not; export both"):
        region_times(found(written), {"conv1#0": 1.0, "other": 2.0}, source="p.json")
