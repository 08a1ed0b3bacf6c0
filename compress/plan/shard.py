"""A sweep that several jobs share: each does every so-manieth piece, and what all need is done by the first to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .errors import UserError

T = TypeVar("T")
MOST_JOBS = 100_000


@dataclass(frozen=True)
class Shard:
    """Job number `job`, from 1 on, of `of` jobs.

    Raises UserError for numbers that are out of range.

    Example::

        Shard.parse("2/3").mine([0.8, 0.65, 0.5, 0.35])  # [0.65]
    """

    job: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.job <= self.of <= MOST_JOBS:
            raise UserError(f"{self.job}/{self.of}: must be job i of n, with i from 1 to n; write it like 2/8")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """What `text`, "2/8", says; UserError for anything else."""
        job, _, of = text.partition("/")
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (job, of)):
            raise UserError(f"{text[:40]!r} is no job of several; write it like 2/8")
        return cls(int(job), int(of))

    def mine(self, pieces: Sequence[T]) -> list[T]:
        """The piece k, from 0 on, belongs to job k mod n + 1."""
        return list(pieces[self.job - 1 :: self.of])
