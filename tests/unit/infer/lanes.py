"""Launches of threads as the inference reads them, written by hand."""

from __future__ import annotations

from collections.abc import Iterable

from nsys_pipeline.infer import Launch

#: Blocks of an activation's grid for each token, and rows of the tile of a product of few and of many rows.
BLOCKS, FEW, MANY = 4, 8, 256


class Lane:
    """One thread that launches a kernel every 10 ns."""

    def __init__(self, thread: int = 1, *, process: int = 1, at: int = 1_000) -> None:
        self.launches: list[Launch] = []
        self.thread, self.process, self.at = thread, process, at
        self._gemms = self._tiles = self._activations = self._blocks = self._stores = 0
        #: Whether layers add to a cache.
        self.caches = True

    def add(self, role: str, kind: int | None = None, *, is_few: bool = False, blocks: int = 1, tile: int = 0) -> Lane:
        """One launch."""
        self.at += 10
        if role == "gemm":
            self._gemms, self._tiles = self._gemms + 1, self._tiles + tile
        elif role == "activation":
            self._activations, self._blocks = self._activations + 1, self._blocks + blocks
        elif role == "store":
            self._stores += 1
        else:
            counts = (self._gemms, self._tiles, self._activations, self._blocks, self._stores)
            self.launches.append(
                Launch(self.process, self.thread, self.at, self.at + 5, role, kind, is_few, blocks, *counts)
            )
        return self

    def layer(self, tokens: int, *, tile: int, attention: int = 7) -> Lane:
        """Projections, attention, and an MLP."""
        self.add("gemm", tile=tile)
        if self.caches:
            self.add("store")
        self.add("attention", attention)
        for _ in range(2):
            self.add("gemm", tile=tile)
        return self.add("activation", blocks=BLOCKS * tokens).add("gemm", tile=tile)

    def step(
        self, tokens: int, *, sequences: int = 1, layers: int = 4, samples: bool = True, tile: int | None = None
    ) -> Lane:
        """A pass of so many tokens of each sequence; few rows have small tiles."""
        rows = tokens * sequences
        self.add("lookup", 1, is_few=rows <= 16)
        for _ in range(layers):
            self.layer(rows, tile=tile or (FEW if rows <= 16 else MANY))
        self.add("gemm", tile=FEW)
        return self.add("sample", 3, blocks=sequences) if samples else self

    def request(self, prompt: int, steps: int, *, sequences: int = 1, layers: int = 4) -> Lane:
        """A prefill and decode steps."""
        self.step(prompt, sequences=sequences, layers=layers)
        for _ in range(steps):
            self.step(1, sequences=sequences, layers=layers)
        return self


def merged(*lanes: Lane) -> list[Launch]:
    """Launches of several threads as the relation orders them."""
    launches: Iterable[Launch] = (one for lane in lanes for one in lane.launches)
    return sorted(launches, key=lambda one: (one.global_tid, one.start_ns))
