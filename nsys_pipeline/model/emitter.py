"""Collects the ops of one forward pass; knows the number formats and the parallel degrees."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.dtypes import bytes_of
from nsys_pipeline.model.ops import Op
from nsys_pipeline.model.quantization import NORM, Format, plain
from nsys_pipeline.records import Step


@attrs.frozen
class Pass:
    """One stack's share of a forward pass: new and cached tokens per sequence, and how often the head runs.

    `encoder_tokens` are the tokens per sequence that cross-attention looks at; `first` is whether this pass also
    projects them to keys and values (they are cached afterwards).
    """

    step: Step
    logits: int
    encoder_tokens: tuple[int, ...] = ()
    first: bool = True

    @property
    def tokens(self) -> int:
        return self.step.new_tokens


class Emitter:
    """Turns matrix shapes into ops. `dtype` is that of the activations, `formats` the stored format per weight role."""

    def __init__(
        self, conventions: Conventions, dtype: str, kv_dtype: str, formats: Mapping[str, Format], *, tp: int = 1
    ) -> None:
        self.conventions = conventions
        self.dtype = dtype
        self.kv_dtype = kv_dtype
        self.tp = tp
        self.ops: list[Op] = []
        self._formats = formats
        self._plain = plain(dtype)
        self._layer, self._layers, self._layer_ids = "", 1, ()  # type: tuple[str, int, tuple[int, ...]]

    def enter(self, layer: str, layer_ids: tuple[int, ...] = ()) -> None:
        """Ops from now on belong to these identical layers; no ids for what runs once per pass."""
        self._layer, self._layer_ids, self._layers = layer, layer_ids, max(1, len(layer_ids))

    def format(self, role: str) -> Format:
        return self._formats.get(role, self._plain)

    def weight_bytes(self, role: str, rows: int, columns: int, copies: int = 1) -> int:
        return self.format(role).bytes(rows, columns, copies)

    def plain_bytes(self, elements: int) -> int:
        return bytes_of(elements, self.dtype)

    def kv_bytes(self, elements: int) -> int:
        return bytes_of(elements, self.kv_dtype)

    def add(
        self,
        kind: str,
        name: str,
        *,
        m: int = 0,
        n: int = 0,
        k: int = 0,
        batch: int = 1,
        dtype: str | None = None,
        flops: int = 0,
        executed: int | None = None,
        weight: int = 0,
        activation: int = 0,
        kv_read: int = 0,
        kv_write: int = 0,
        comm: int = 0,
    ) -> None:
        """Append an op of the current layer; what is executed is what the model requires unless said otherwise."""
        self.ops.append(
            Op(
                self._layer,
                self._layers,
                self._layer_ids,
                kind,
                name,
                m,
                n,
                k,
                batch,
                dtype or self.dtype,
                flops,
                flops if executed is None else executed,
                weight,
                activation,
                kv_read,
                kv_write,
                comm,
            )
        )

    def gemm(
        self,
        name: str,
        role: str,
        tokens: int,
        n: int,
        k: int,
        *,
        bias: int = 0,
        replicas: int = 1,
        kind: str = "gemm",
    ) -> None:
        """A linear layer: (tokens × k)·(k × n), with `bias` bias values; `replicas` GPUs hold and run the same copy."""
        flops = 2 * tokens * n * k
        fmt = self.format(role)
        self.add(
            kind,
            name,
            m=tokens,
            n=n,
            k=k,
            dtype=fmt.compute,
            flops=flops,
            executed=replicas * flops,
            weight=replicas * (fmt.bytes(n, k) + self.plain_bytes(bias)) if tokens else 0,
            activation=self.plain_bytes(tokens * (n + k)),
        )

    def norm(self, name: str, params: int, elements: int, *, replicas: int | None = None) -> None:
        """A normalization of `elements` values with `params` weights, held by every tensor-parallel rank."""
        copies = self.tp if replicas is None else replicas
        self.add(
            "norm",
            name,
            weight=copies * self.weight_bytes(NORM, 1, params) if elements and params else 0,
            activation=2 * self.plain_bytes(elements),
        )

    def all_reduce(self, name: str, elements: int) -> None:
        """Sum over the tensor-parallel ranks; a ring sends 2 (tp - 1) times the buffer in total."""
        if self.tp > 1:
            self.add("communication", name, comm=2 * (self.tp - 1) * self.plain_bytes(elements))
