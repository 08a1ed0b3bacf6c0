"""Draw a detection set in COCO's format: shapes of six classes, partly hidden, among shapes of no class, on textures.

Which class an object is of shows in its outline alone: size, turn, proportions, colours, filling and ground are drawn
for all classes alike. Everything is computed with integers from PCG64's raw stream, which NumPy keeps as it is, and
images are written as they stand (PPM), so that a seed gives the same bytes on every processor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _harness import ROOT
from numpy.typing import NDArray

Field = NDArray[np.int64]
Mask = NDArray[np.bool_]
Outline = Callable[[Field, Field], Mask]

SIDE = 128
"""Of an image, in pixels."""
UNIT = 1024
"""A shape's radius in its own coordinates."""
TURNS = 64
"""Rotations are multiples of a TURNS-th of a whole turn."""
SEED = 20
COUNTS = {"train2017": 1200, "val2017": 500}
RADII = (9, 25)
"""Of objects, in pixels, the smallest and one more than the largest."""
OBJECTS, OTHERS = (2, 6), (1, 4)
"""How many of a class, and of none, an image is begun with: at least, and one more than at most."""
VISIBLE = 0.55
"""Share of every object that stays in sight."""


def polygon(corners: Sequence[tuple[int, int]]) -> Outline:
    """Inside the polygon of these corners, by the parity of the edges to the right of a point."""

    def inside(u: Field, v: Field) -> Mask:
        found = np.zeros(u.shape, bool)
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if y1 != y2:
                between = (v < y1) != (v < y2)
                right = ((u - x1) * (y2 - y1) < (v - y1) * (x2 - x1)) == (y2 > y1)
                found ^= between & right
        return found

    return inside


def disc(u: Field, v: Field) -> Mask:
    return u * u + v * v <= UNIT * UNIT


HALF_A_STAR = [(0, -1024), (270, -372), (974, -316), (437, 142), (602, 828), (0, 460)]
CLASSES: dict[str, Outline] = {
    "disc": disc,
    "ring": lambda u, v: disc(u, v) & ~disc(2 * u, 2 * v),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 820,
    "triangle": polygon([(0, -1024), (887, 512), (-887, 512)]),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 300) & (np.maximum(abs(u), abs(v)) <= 960),
    "star": polygon(HALF_A_STAR + [(-x, y) for x, y in HALF_A_STAR[4:0:-1]]),
}
NO_CLASS: tuple[Outline, ...] = (
    lambda u, v: (abs(u) <= 1000) & (abs(v) <= 200),  # a bar
    lambda u, v: disc(u, v) & ~disc(u - 560, v),  # a crescent
    lambda u, v: disc(u, v) & (v <= -100),  # less than half a disc
    polygon([(-800, -900), (-250, -900), (-250, 350), (800, 350), (800, 900), (-800, 900)]),  # an L
)
"""Outlines of what is to be taken for ground."""


class Draws:
    """Whole numbers by chance: a stream of its own for every key."""

    def __init__(self, *key: int) -> None:
        self.stream = np.random.PCG64(np.random.SeedSequence(key))

    def below(self, n: int) -> int:
        """One of 0 ... n - 1."""
        return int(self.stream.random_raw()) % n

    def between(self, low: int, high: int) -> int:
        """One of low ... high - 1."""
        return low + self.below(high - low)

    def field(self, *shape: int, below: int) -> Field:
        """An array of them."""
        raw = self.stream.random_raw(math.prod(shape))
        return (raw % np.uint64(below)).astype(np.int64).reshape(shape)


@dataclass
class Picture:
    """An image [SIDE, SIDE, 3] while it is drawn; `owner` has the number of the shape on top, `whole` all areas."""

    pixels: Field
    owner: Field = field(default_factory=lambda: np.full((SIDE, SIDE), -1))
    whole: list[int] = field(default_factory=list)
    classes: list[int | None] = field(default_factory=list)

    def add(self, coverage: Field, colours: Field, label: int | None) -> bool:
        """Paint a shape on top, `coverage` [SIDE, SIDE] in quarters of a pixel; not where it would hide too much."""
        mask = coverage >= 2
        area = int(mask.sum())
        hidden = np.where(mask, len(self.whole), self.owner)
        for number, whole in enumerate(self.whole):
            if (hidden == number).sum() < VISIBLE * whole:
                return False
        self.pixels = (self.pixels * (4 - coverage[..., None]) + colours * coverage[..., None] + 2) // 4
        self.owner = hidden
        self.whole.append(area)
        self.classes.append(label)
        return True


def texture(draws: Draws, colours: Sequence[Field]) -> Field:
    """[SIDE, SIDE, 3] that goes back and forth between two colours: clouds, stripes, checks, a slope or one colour."""
    kind = draws.below(5)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    turn, period = rotation(draws.below(TURNS)), draws.between(6, 16)
    along = (columns * turn[0] + rows * turn[1]) // 4096
    across = (rows * turn[0] - columns * turn[1]) // 4096
    share = {
        0: lambda: clouds(draws),
        1: lambda: 256 * (along // period % 2),
        2: lambda: 256 * ((along // period + across // period) % 2),
        3: lambda: np.clip(128 + along - SIDE // 2, 0, 256),
        4: lambda: np.zeros((SIDE, SIDE), np.int64),
    }[kind]()
    return (colours[0] * (256 - share[..., None]) + colours[1] * share[..., None]) // 256


def clouds(draws: Draws) -> Field:
    """[SIDE, SIDE] of 0 ... 255: numbers on a grid of 16 and on one of 8 pixels, with straight lines between them."""
    total = np.zeros((SIDE, SIDE), np.int64)
    for cell, weight in ((16, 3), (8, 1)):
        grid = draws.field(SIDE // cell + 1, SIDE // cell + 1, below=256)
        place, step = np.divmod(np.arange(SIDE), cell)
        rows = grid[place] * (cell - step)[:, None] + grid[place + 1] * step[:, None]
        total += weight * (rows[:, place] * (cell - step) + rows[:, place + 1] * step) // (cell * cell)
    return total // 4


def rotation(turn: int) -> tuple[int, int]:
    """Cosine and sine of `turn` of TURNS, in 4096ths: far from halves, so that every processor rounds them alike."""
    angle = 2 * math.pi * turn / TURNS
    return round(4096 * math.cos(angle)), round(4096 * math.sin(angle))


def covered(draws: Draws, outline: Outline, radius: int) -> Field:
    """[SIDE, SIDE]: how many quarters of every pixel a shape covers, anywhere, turned and flattened by chance."""
    x, y = (draws.between(radius * 3 // 4, SIDE - radius * 3 // 4) for _ in range(2))
    cos, sin = rotation(draws.below(TURNS))
    flat = draws.between(48, 65)  # its height, in 64ths
    halves = np.arange(2 * SIDE)  # centres of half pixels, in quarters of a pixel from here on
    dx, dy = (2 * halves + 1 - 4 * x)[None], (2 * halves + 1 - 4 * y)[:, None]
    u = (dx * cos + dy * sin) * UNIT // (4 * 4096 * radius)
    v = (dy * cos - dx * sin) * UNIT * 64 // (4 * 4096 * radius * flat)
    inside = outline(u, v)
    return inside.reshape(SIDE, 2, SIDE, 2).sum((1, 3))


def contrasting(draws: Draws, ground: Field) -> list[Field]:
    """Two colours, the first far from `ground` [3] and the second not far from the first."""
    first = ground
    while abs(first - ground).sum() < 150:
        first = draws.field(3, below=256)
    return [first, np.clip(first + draws.field(3, below=121) - 60, 0, 255)]


def picture(draws: Draws) -> Picture:
    """One image: ground, shapes from below to the top, and noise."""
    ground = draws.field(3, below=256)
    found = Picture(texture(draws, [ground, np.clip(ground + draws.field(3, below=141) - 70, 0, 255)]))
    labels: list[int | None] = [draws.below(len(CLASSES)) for _ in range(draws.between(*OBJECTS))]
    for _ in range(draws.between(*OTHERS)):
        labels.insert(draws.below(len(labels) + 1), None)
    outlines = list(CLASSES.values())
    for label in labels:
        for _ in range(20):
            outline = NO_CLASS[draws.below(len(NO_CLASS))] if label is None else outlines[label]
            shape = covered(draws, outline, draws.between(*RADII))
            if found.add(shape, texture(draws, contrasting(draws, ground)), label):
                break
    found.pixels = np.clip(found.pixels + draws.field(SIDE, SIDE, 3, below=25) - 12, 0, 255)
    return found


def annotations(drawn: Picture, image_id: int) -> list[dict[str, Any]]:
    """COCO's entries of the shapes that have a class, with what is in sight of each as run lengths."""
    entries = []
    for number, label in enumerate(drawn.classes):
        if label is None:
            continue
        mask = drawn.owner == number
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        entries.append(
            {
                "id": 100 * image_id + number,
                "image_id": image_id,
                "category_id": label + 1,
                "iscrowd": 0,
                "bbox": [int(n) for n in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)],
                "area": int(mask.sum()),
                "segmentation": {"size": [SIDE, SIDE], "counts": run_lengths(mask)},
            }
        )
    return entries


def run_lengths(mask: Mask) -> list[int]:
    """COCO's: down the columns, beginning with what is not of the object."""
    before = np.concatenate([[False], mask.T.ravel()])
    starts = np.flatnonzero(before[1:] != before[:-1])
    return [int(n) for n in np.diff([0, *starts, mask.size])]


def draw(root: Path, counts: dict[str, int], *, seed: int = SEED) -> None:
    """Write PART/*.ppm and annotations/instances_PART.json for every part of `counts`; an image is the same in any."""
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    for place, (part, n) in enumerate(counts.items()):
        (root / part).mkdir(parents=True, exist_ok=True)
        images, found = [], []
        for i in range(n):
            drawn, name = picture(Draws(seed, place, i)), f"{i + 1:06d}.ppm"
            data = b"P6\n%d %d\n255\n" % (SIDE, SIDE) + drawn.pixels.astype(np.uint8).tobytes()
            (root / part / name).write_bytes(data)
            images.append({"id": i + 1, "file_name": name, "height": SIDE, "width": SIDE})
            found += annotations(drawn, i + 1)
        file = root / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": images, "annotations": found, "categories": categories}))


def main() -> None:
    from compress.commands.parser import Parser

    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "runs" / "drawn", help="where it goes")
    parser.add_argument("--seed", type=int, default=SEED)
    for part, n in COUNTS.items():
        parser.add_argument(f"--{part}", type=int, default=n, metavar="N", help="images of this part")
    args = parser.parse_args()
    draw(args.folder, {part: getattr(args, part) for part in COUNTS}, seed=args.seed)


if __name__ == "__main__":
    main()
