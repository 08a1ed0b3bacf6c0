"""Read what a device has measured of a kit, and make the latency table of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...costs import LatencyTable
from ...plan import UserError, read_stored, sha256
from ...plan.kit_file import FORMAT, MANIFEST, MEASURED, Manifest, Measured
from ...plan.locking import sole_use
from ...plan.table_file import TOTALS
from ...spaces import Space, blocks_of, members_of, sizes
from ..designs import allowed_widths
from ..fitting import FOLDS
from ..profiling import Timing, whole_calls
from ..table import lock_of
from ..ways import fitted_table

AGAIN = "run the kit's measure_kit.py again"


@dataclass(frozen=True)
class KitResult:
    """What a device measured of a kit, in the file `path`: the kit's `manifest` and the `measured` times, as read."""

    path: Path
    manifest: Mapping[str, Any]
    measured: Mapping[str, Any]

    @property
    def key(self) -> dict[str, Any]:
        """A table's key: the network's and the way of running by the kit, the device and its software by itself."""
        told = {name: self.measured[name] for name in ("device", "processor", "backend", "threads")}
        provider = {"provider": self.measured["provider"]} if self.measured["provider"] not in CPU else {}
        versions = {**self.measured["versions"], **self.manifest["key"].get("versions", {})}
        return {**self.manifest["key"], **told, **provider, "versions": versions}

    @property
    def timings(self) -> list[Timing]:
        """Every network's; UserError while some are missing."""
        times, found, networks = self.measured["times"], [], self.manifest["networks"]
        done = sum(network["name"] in times for network in networks)
        if done < len(networks):
            missing = f"has times of {done} of the {len(networks)} networks of its {MANIFEST}"
            raise UserError(f"{self.path}: {missing}; {AGAIN} to go on, and bring the file back")
        for network in networks:
            own = times[network["name"]]
            ratio, unpruned_ms = whole_calls(own["network"], own["unpruned"])
            if not LEAST <= ratio <= 1 / LEAST:
                says = f"times.{network['name']} takes {ratio:.3g} of the unpruned network's time"
                raise UserError(f"{self.path}: {says}, which no device does; {AGAIN} (--again)")
            found.append(Timing(network["widths"], self.manifest["sizes"], ratio, unpruned_ms, own["reference_ms"]))
        return found

    def ratios(self, designs: Sequence[Mapping[str, int]]) -> list[float]:
        """The latency of networks at `designs` over the unpruned one's; UserError unless they are those of the kit."""
        check_designs(self.path, self.manifest, designs)
        return [each.ratio for each in self.timings]


LEAST = 1e-4
"""The least ratio of a network's time."""

CPU = ("", "CPU", "CPUExecutionProvider")
"""Providers that are a processor, as those of tables that are measured here."""


def read_measured(path: str | Path, space: Space, input_size: tuple[int, int, int]) -> KitResult:
    """What the file `path` says of the kit that it lies in, whose networks are those of `space`.

    Nothing that it holds is run, and nothing opened but the manifest beside it.

    Raises UserError for a file that is damaged, or of another kit than the manifest beside it, and for a kit of another
    network.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the {MEASURED} that the device has left in it")
    found = read_stored(path, Measured, version=FORMAT, remedy=AGAIN)
    kit = path.with_name(MANIFEST)
    manifest = read_manifest(kit, space, input_size, remedy=f"put {path.name} beside the kit's {MANIFEST}")
    if found["kit"] != sha256(kit):
        raise UserError(f"{path}: is of another kit than {kit}; put it beside the {MANIFEST} that was measured")
    return KitResult(path, manifest, found)


def read_manifest(
    kit: Path, space: Space, input_size: tuple[int, int, int], *, remedy: str = "write the kit again"
) -> dict[str, Any]:
    """The manifest in the file `kit`; UserError, which ends in `remedy`, where it is damaged, and for other networks
    than those of `space` for images of `input_size`.
    """
    manifest: dict[str, Any] = read_stored(kit, Manifest, version=FORMAT, remedy=remedy)
    try:
        LatencyTable(manifest["key"], 0.0, {}, {}, 0.0).check_space(space, input_size)
    except UserError as error:
        raise error.at(str(kit)) from None
    if manifest["sizes"] != sizes(space.groups):
        raise UserError(f"{kit}: sizes are not those of the network's groups; write the kit again")
    return manifest


def check_designs(path: Path, manifest: Mapping[str, Any], designs: Sequence[Mapping[str, int]]) -> None:
    """UserError, beginning with `path`, unless a kit's networks are those at `designs`, in their order."""
    if [network["widths"] for network in manifest["networks"]] != [dict(design) for design in designs]:
        raise UserError(f"{path}: is of other networks than those to choose from; give a new folder for their kit")


def table_of_kit(
    space: Space, path: str | Path, measured: str | Path, *, input_size: tuple[int, int, int]
) -> LatencyTable:
    """Make the latency table of what a device has `measured` of a kit, write it to `path`, return it.

    Args:
        space: the network's.
        path: the table to write.
        measured: the device's measured.json, beside the manifest of its kit.
        input_size: (C, H, W).

    Raises UserError as `read_measured`, and for a kit of plans.

    Example::

        table_of_kit(space, "table.json", "kit/measured.json", input_size=(3, 32, 32))
    """
    found = read_measured(measured, space, input_size)
    if found.manifest["kind"] != "table":
        raise UserError(f"{measured}: is of plans to choose from; a table needs a kit of `nncompress profile --kit`")
    timings = found.timings
    if len(timings) < 2 * FOLDS:
        kit = found.path.with_name(MANIFEST)
        raise UserError(f"{kit}: {len(timings)} networks, and a table needs {2 * FOLDS}; write another kit")
    settings = {"multiple": found.manifest["multiple"], "rounds": found.measured["rounds"], "sources": 1, "way": TOTALS}
    _check_widths(found, space)
    table = fitted_table(space, input_size, found.key, settings, timings)
    with sole_use(lock_of(Path(path)), what=str(path)):
        table.save(path)
    return table


def _check_widths(found: KitResult, space: Space) -> None:
    """UserError for widths off the grid, which no kit of ours has; blocks may be gone."""
    grids = allowed_widths(space.groups, found.manifest["multiple"])
    removable = {name for block in members_of(blocks_of(space.groups)) for name in block}
    for network in found.manifest["networks"]:
        for group, width in network["widths"].items():
            if width not in grids[group] and not (width == 0 and group in removable):
                raise UserError(
                    f"{found.path.with_name(MANIFEST)}: width {width} of {group} is no multiple of "
                    f"{found.manifest['multiple']}; write the kit again"
                )
