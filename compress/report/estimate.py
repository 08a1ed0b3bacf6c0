"""What a recipe's runs will take, in the terminal."""

from __future__ import annotations

from typing import Any

COLUMNS = ("weights", "gradients", "states", "activations", "peak")
MIB = 2**20


def print_estimate(found: dict[str, Any]) -> None:
    """Print the plain values of an estimate: a table of stages, and what is and is not in it.

    Example::

        from dataclasses import asdict

        print_estimate({"name": "demo", **asdict(estimate(recipe, tflops=1.0))})
    """
    from rich.console import Console
    from rich.table import Table

    data, processes = found["data"], found["processes"]
    several = f"{processes} process{'' if processes == 1 else 'es'}"
    title = f"{found['name']}: {data['train']:,} training and {data['judged']:,} evaluation images, {several}"
    caption = "of each process; memory in MiB while it takes a step"
    table = Table("stage", "steps", "TFLOPs", "hours", *COLUMNS, title=title, caption=caption)
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in found["stages"]:
        memory = stage["footprint"] or {}
        cells = [f"{memory[name] / MIB:,.0f}" if memory else "-" for name in COLUMNS]
        table.add_row(
            stage["name"], f"{stage['steps']:,}", f"{stage['flops'] / 1e12:,.0f}", f"{stage['hours']:,.2f}", *cells
        )
    console = Console()
    console.print(table)
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
        console.print(line, highlight=False)
