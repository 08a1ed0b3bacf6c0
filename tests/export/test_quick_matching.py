"""Patterns of the exporter's optimiser are sought where their end may stand, and found as without that."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from onnxscript.rewriter.pattern import SimplePatternMatcher
from torch import nn

from compress.export import export_onnx, onnx_file


def test_files_are_the_same_and_few_patterns_are_tried(tmp_path, monkeypatch):
    torch.manual_seed(0)
    layers = (nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.ReLU6())
    network, tried, whole = (
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        [],
        SimplePatternMatcher.match,
    )

    def match(self, model, graph, node, **options):
        tried.append(whole(self, model, graph, node, **options))
        return tried[-1]

    monkeypatch.setattr(SimplePatternMatcher, "match", match)
    found, counts = [], []
    for context in (onnx_file.quick_matching, nullcontext):
        monkeypatch.setattr(onnx_file, "quick_matching", context)
        found.append(export_onnx(network, tmp_path / "m.onnx", input_size=(3, 8, 8)).read_bytes())
        counts.append((len(tried), sum(map(bool, tried))))
        tried.clear()
        assert SimplePatternMatcher.match is match
    assert found[0] == found[1]
    (quick, ours), (all_, theirs) = counts
    assert ours == theirs > 0
    assert quick < all_ / 5
