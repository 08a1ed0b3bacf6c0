"""What pruning in Python gives back: the small network, what was decided, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..export import export_onnx
from ..plan import WidthPlan, check_output, check_output_folder, path_of
from ..spaces import Card, Space, own_surroundings, save_model


@dataclass(frozen=True)
class Pruned:
    """A pruned network.

    Attributes:
        model: the small network, in evaluation mode, on the CPU.
        plan: kept channels of every group.
        before, after: `params`, `macs`, and figures on the validation data (`top1` in percent, `val_loss`).
        scores: {group: [C]}, of what they were chosen by.
        left: {layers that keep their channels: why}.
        space: of the small network.
        card: what is saved beside its weights.
    """

    model: nn.Module
    plan: WidthPlan
    before: Mapping[str, float]
    after: Mapping[str, float]
    scores: Mapping[str, Tensor]
    left: Mapping[str, str]
    space: Space
    card: Card

    def report(self) -> str:
        """A table of what has changed, as text; `print(pruned.report())`."""
        rows = [("", "before", "after", "ratio")]
        for name in self.before:
            before, after = self.before[name], self.after[name]
            ratio = f"{after / before:.3f}" if name in ("params", "macs") and before else ""
            rows.append((name, f"{before:,}", f"{after:,}", ratio))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(
                cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        groups = self.plan.kept
        cut = sum(len(kept) < self.plan.sizes[name] for name, kept in groups.items())
        lines.append(f"{cut} of {len(groups)} groups are narrower; {len(self.left)} candidates were left alone")
        return "\n".join(line.rstrip() for line in lines)

    @own_surroundings()
    def export(self, path: str | Path) -> Path:
        """Write the small network as an ONNX file, whose outputs have been compared with PyTorch's."""
        file = path_of("path", path, "file")
        check_output("path =", file)
        return export_onnx(self.model, file, input_size=self.card.input_size)

    def save(self, folder: str | Path) -> Path:
        """Write weights and card into `folder`; `compress.load(folder, network=...)` reads them."""
        folder = path_of("folder", folder)
        check_output_folder("folder =", folder)
        # The card comes last: a folder without it is no network.
        self.plan.save(folder / "plan.json")
        save_model(folder / "model", self.model, self.card)
        return folder
