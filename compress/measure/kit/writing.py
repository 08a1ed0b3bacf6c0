"""Write a kit: the networks to time, what they are, and the script that times them."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...plan import UserError, sha256, write_json, write_text
from ...plan.files import remove_leftovers, temporary
from ...plan.kit_file import FORMAT, MANIFEST, MEASURED, UNPRUNED
from ...plan.system import storing
from ...spaces import Space, sizes
from ..environment import versions
from ..graphs import WidthGraphs
from ..networks import check_graphs, timing_network
from ..table import TableConfig, first_designs
from .script import kit_script
from .weights import WEIGHTS, SharedWeights

if TYPE_CHECKING:
    from ...engine.hooks import Progress

SCRIPT = "measure_kit.py"
STAGE = "Writing networks"


def write_table_kit(
    space: Space,
    folder: str | Path,
    *,
    input_size: tuple[int, int, int],
    config: TableConfig,
    progress: Progress | None = None,
) -> Path:
    """Write the networks that a latency table of `space` is made of to the new `folder`; its path.

    They are those that `build_table` would measure first for a table of totals, which is what comes of a kit: some lack
    residual blocks. Bring the folder to the device and run measure_kit.py there.

    Args:
        space: whose networks are written.
        folder: of the kit; it must be empty, or new.
        input_size: (C, H, W).
        config: how many networks, of which widths, for calls of how many images.
        progress: is told of every network.

    Raises UserError for a folder that holds something, and where too few networks differ.

    Example::

        write_table_kit(space, "kit", input_size=(3, 32, 32), config=TableConfig(designs=24))
    """
    config = replace(config, way="totals")
    designs = first_designs(space, input_size, config)
    return write_kit(space, folder, "table", designs, input_size=input_size, config=config, progress=progress)


def write_kit(
    space: Space,
    folder: str | Path,
    kind: Literal["table", "plans"],
    designs: Sequence[Mapping[str, int]],
    *,
    input_size: tuple[int, int, int],
    config: TableConfig,
    progress: Progress | None = None,
) -> Path:
    """Write a kit of the networks of `space` at `designs`, all {group: channels}; the rest as `write_table_kit`."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty, and a kit wants a folder of its own; give a new one")
    if folder.is_mount() or folder.resolve() == Path.cwd():  # no other folder can take their places
        raise UserError(f"{folder}: is a mount point, or where you are; give a new folder in it")
    model = timing_network(space, input_size)
    graphs = WidthGraphs(model, space, input_size=input_size)
    _check(graphs, model, space, designs[0], config.batch, input_size)
    names = [f"n{i:03}" for i in range(len(designs))]
    with _new_folder(folder) as place:
        shared = SharedWeights(graphs, place / "networks", batch=config.batch)
        if progress is not None:
            progress.start(STAGE, len(designs), 0)
        shared.write(UNPRUNED, {})
        for name, design in zip(names, designs, strict=True):
            shared.write(name, dict(design))
            if progress is not None:
                progress.advance()
        files = [WEIGHTS, *(f"{name}.onnx" for name in (UNPRUNED, *names))]
        full = sizes(space.groups)
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "key": _key(space, input_size, config),
            "multiple": config.multiple,
            "seed": config.seed,
            "input": [config.batch, *input_size],
            "sizes": full,
            "networks": [{"name": name, "widths": {**full, **w}} for name, w in zip(names, designs, strict=True)],
            "files": {name: sha256(place / "networks" / name) for name in files},
        }
        write_text(place / SCRIPT, kit_script())
        write_json(place / MANIFEST, manifest)
    return folder


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, which takes its name when the block ends without an exception, and else goes."""
    with storing(folder):
        place = temporary(folder.absolute())
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place.parent, of=[folder.absolute()])
        place.mkdir()
        try:
            yield place
            os.replace(place, folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _check(
    graphs: WidthGraphs,
    model: Any,
    space: Space,
    design: Mapping[str, int],
    batch: int,
    input_size: tuple[int, int, int],
) -> None:
    """That the graphs compute what sliced networks do, as for tables that are measured here."""
    import torch

    images = torch.randn(batch, *input_size, generator=torch.Generator().manual_seed(0))
    check_graphs(graphs, model, space, design, images)


def _key(space: Space, input_size: tuple[int, int, int], config: TableConfig) -> dict[str, Any]:
    """What of a table's key is known here; PyTorch's exporter decides which nodes there are."""
    return {
        "dtype": "float32",
        "batch": config.batch,
        "input_size": list(input_size),
        "space": space.name,
        "arch": space.arch,
        "versions": {"torch": versions()["torch"]},
    }


def how_to_go_on(folder: Path, options: Sequence[str] = ()) -> str:
    """What a user does with a kit, in words; `options` are what its script is to be given."""
    call = shlex.join(["python", SCRIPT, *options])
    return f"Kit: {folder}; copy it to the device, run `{call}` in it there, and bring {MEASURED} back into it"
