"""How many channels engines take at once, by processor and by what reads the channels."""

import pytest

from compress.measure import environment
from compress.measure.blocks import NCHWC, ONEDNN, UNKNOWN, block_of
from compress.plan.backends import BACKENDS

AVX512 = "vendor_id GenuineIntel, cpu family 6, model 143: avx avx2 fma avx512f avx512_vnni"
AVX2 = "vendor_id AuthenticAMD, cpu family 25, model 1: avx avx2 fma"
ARM = "CPU implementer 0x41, CPU part 0xd0c: asimd asimddp"


@pytest.mark.parametrize(
    ("blocks", "numbers"), [(NCHWC, (16, 8, 16, 16)), (ONEDNN, (16, 8, 8, 8)), (UNKNOWN, (8, 8, 8, 8))]
)
def test_blocks_by_processor(blocks, numbers):
    assert tuple(blocks.on(text) for text in (AVX512, AVX2, ARM, "arm")) == numbers


def test_transformers_go_by_matrix_products(monkeypatch):
    monkeypatch.setattr(environment, "processor", lambda: AVX512)
    assert block_of(NCHWC, {"channels"}) == block_of(NCHWC, {"channels", "stream"}) == 16
    assert block_of(NCHWC, {"attention", "mlp"}) == block_of(NCHWC, {"mlp"}) == 8
    assert block_of(NCHWC, {"mlp", "channels"}) == 16


def test_every_backend_has_a_power_of_two():
    for backend in BACKENDS.own():
        for text in (AVX512, AVX2, ARM):
            block = backend.blocks.on(text)
            assert block >= 4
            assert block & (block - 1) == 0, backend.name


def test_the_engine_whose_speed_is_told_first():
    assert BACKENDS.first(("pytorch", "onnxruntime")) == "onnxruntime"
    assert BACKENDS.first(["openvino", "pytorch"]) == "openvino"
    assert BACKENDS.first([]) is None
