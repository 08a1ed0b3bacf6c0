"""What a recipe's runs will take, in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .terminal_table import Line, TerminalTable

if TYPE_CHECKING:
    from rich.console import Console

MEMORY = (("weights", "gradients"), ("states", "activations"), ("peak",))
"""What a step holds, by columns of the table."""
MIB = 2**20


def print_estimate(found: dict[str, Any], console: Console | None = None) -> None:
    """Print the plain values of an estimate: its stages, as a list where a table would not fit, and what is in it.

    Args:
        found: the estimate's values, and the recipe's `name`.
        console: where to print; the terminal by default.

    Example::

        from dataclasses import asdict

        print_estimate({"name": "demo", **asdict(estimate(recipe, tflops=1.0))})
    """
    from rich.console import Console
    from rich.text import Text

    console, stages = console or Console(), []
    for stage in found["stages"]:
        memory = stage["footprint"] or {}
        held = ["\n".join(f"{memory[name] / MIB:,.0f}" if memory else "-" for name in column) for column in MEMORY]
        work = f"{stage['steps']:,}\n{stage['flops'] / 1e12:,.0f}"
        stages.append(Line(stage["name"], (work, f"{stage['hours']:,.2f}", *held)))
    data, processes = found["data"], found["processes"]
    several = f"{processes} process{'' if processes == 1 else 'es'}"
    TerminalTable(
        ("steps\nTFLOPs", "hours", *map("\n".join, MEMORY)),
        stages,
        name="stage",
        title=f"{found['name']}: {data['train']:,} training and {data['judged']:,} evaluation images, {several}",
        caption="of each process; memory in MiB while it takes a step",
    ).print(console)
    rate = f"{found['tflops']:.3g} TFLOP/s of each process"
    source = "as given by --tflops" if found["measured"] is None else f"measured here ({found['measured']})"
    lines = [
        f"Hours: FLOPs over {rate}, {source}; exchange between processes, reading images and export are not in them.",
        "Peak: tensors that are alive at once, in float32; CUDA's context, workspaces of cuDNN and oneDNN, and images "
        "that workers have read are not in it. Fine-tuning is that of the unpruned network.",
    ]
    if found["buckets"]:
        lines.append(f"Several processes: up to {found['buckets'] / MIB:,.0f} MiB more each, for gradients on the way.")
    disk = ", ".join(f"{size / MIB:,.0f} MiB for `{run}`" for run, size in found["disk"].items())
    lines.append(f"Disk, at most: {disk}.")
    for line in lines:
        console.print(Text(line))
