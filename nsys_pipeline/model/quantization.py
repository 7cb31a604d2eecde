"""Weight formats: bits, scales, and which weights of a checkpoint are in them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.dtypes import BITS, normalize_dtype
from nsys_pipeline.model.modules import Patterns, Place, parts_of

#: The stack of an encoder of sound.
AUDIO = "audio"
#: What a weight is used for; quantization applies by role.
ATTENTION, MLP, EXPERT, ROUTER, EMBEDDING, HEAD, NORM, VISION = (
    "attention",
    "mlp",
    "expert",
    "router",
    "embedding",
    "lm_head",
    "norm",
    "vision",
)
#: Stacks beside those of text, which stay in the model's dtype; each image or clip is a sequence of its own in them.
TOWERS = (VISION, AUDIO)
_LINEARS = frozenset({ATTENTION, MLP, EXPERT})


@attrs.frozen
class Format:
    """One stored number format with its scales.

    A scale of `scale_bits` (and a zero point of `zero_bits`) is stored per block of `block` = (rows, columns) of a
    (out × in) weight; 0 stands for the whole extent. `compute` is the dtype the product runs in, None for that of the
    activations (weight-only quantization).
    """

    name: str
    bits: int
    block: tuple[int, int] = (0, 0)
    scale_bits: int = 0
    zero_bits: int = 0
    compute: str | None = None

    def bytes(self, rows: int, columns: int, copies: int = 1) -> int:
        """Bytes of `copies` weights of `rows` outputs and `columns` inputs, scales and zero points included."""
        blocks = 0
        if self.scale_bits:
            blocks = -(-rows // (self.block[0] or rows)) * -(-columns // (self.block[1] or columns))
        bits = rows * columns * self.bits + blocks * (self.scale_bits + self.zero_bits)
        return -(-copies * bits // 8)


def plain(dtype: str) -> Format:
    """An unquantized format."""
    return Format(dtype, BITS[dtype], compute=None)


def named_format(name: str) -> Format:
    """The usual layout behind a short name, for ``--weight-dtype``.

    fp8: fp32 scale per 128×128 block (DeepSeek-V3 technical report, arXiv 2412.19437, 3.3.2), computed in fp8.
    int8: fp32 scale per output row, computed in int8. nvfp4: fp8 scale per 16 inputs, computed in fp4, as Model
    Optimizer's checkpoints are: their activations are quantized, too. int4 (fp16 scale and 4-bit zero per 128 inputs:
    AWQ, GPTQ) and mxfp4 (8-bit scale per 32 inputs, OCP Microscaling v1.0; gpt-oss) are weight-only.
    """
    key = name.strip().lower()
    known = {
        "fp8": Format("fp8", 8, (128, 128), 32, compute="fp8"),
        "int8": Format("int8", 8, (1, 0), 32, compute="int8"),
        "int4": Format("int4", 4, (1, 128), 16, 4),
        "mxfp4": Format("mxfp4", 4, (1, 32), 8),
        "nvfp4": Format("nvfp4", 4, (1, 16), 8, compute="fp4"),
    }
    if key in known:
        return known[key]
    dtype = normalize_dtype(key)
    if BITS[dtype] < 8:
        raise ModelError(f"`{name}` needs a block size", hint=f"choose one of: {', '.join(known)}")
    return plain(dtype)


@attrs.frozen
class Rule:
    """The format of the modules that `patterns` mean; None for those that stay as they are."""

    patterns: Patterns
    format: Format | None

    def applies(self, role: str, names: tuple[str, ...], place: Place) -> bool:
        if self.format is not None and role not in _LINEARS and not self._says(names):
            return False
        return self.patterns.match(names, place)

    def _says(self, names: tuple[str, ...]) -> bool:
        """Whether an entry spells one of the names out; `.*` means products of layers alone."""
        return any(name.rpartition(".")[2] in entry for name in names for entry in self.patterns.entries)


@attrs.define(eq=False)
class Quantization:
    """How the weights of a checkpoint are stored: rules of which the first that applies counts, else that of the role.

    `by_role` holds formats of whole roles; weights without any format have the model's dtype. `kv_dtype`: of the KV
    cache, if the checkpoint says. `notes`: sentences about what is written there and was not read. `is_tied`: the head
    multiplies by the table of embeddings, in whatever that is stored.
    """

    by_role: Mapping[str, Format] = attrs.field(factory=dict)
    rules: tuple[Rule, ...] = ()
    kv_dtype: str | None = None
    notes: tuple[str, ...] = ()
    experts: int = 1
    is_tied: bool = False
    _found: dict[tuple[str, str, Place], tuple[Format | None, ...]] = attrs.field(init=False, factory=dict)

    @classmethod
    def everywhere(cls, fmt: Format) -> Quantization:
        """Every linear layer inside the blocks; embeddings, LM head, routers and norms stay as they are."""
        return cls(dict.fromkeys(_LINEARS, fmt))

    @property
    def differs_by_layer(self) -> bool:
        """Whether layers of one kind may be stored in different formats."""
        return bool(self.rules)

    def formats(self, role: str, op: str, place: Place) -> tuple[Format | None, ...]:
        """Formats of the parts of an operation, such as Q, K and V of `qkv`; None for the model's dtype."""
        if role in (NORM, VISION) or place.stack in TOWERS:
            return (None,)
        key = (role, op, place)
        if key not in self._found:
            found = tuple(self._format(role, names, place) for names in parts_of(role, op))
            if role == HEAD and self.is_tied and found == (None,):
                (table,) = self.formats(EMBEDDING, "embed", place)
                found = (table and attrs.evolve(table, compute=None),)
            self._found[key] = found
        return self._found[key]

    def _format(self, role: str, names: tuple[str, ...], place: Place) -> Format | None:
        if not self.rules or role != EXPERT:
            return self._one(role, names, place)
        # Experts of a layer are stored alike; of those that are not, three stand for all.
        some = (self.experts // 2, self.experts - 1, self.experts // 3)
        found = [self._one(role, tuple(name.replace("{e}", str(expert)) for name in names), place) for expert in some]
        return max(found, key=found.count)

    def _one(self, role: str, names: tuple[str, ...], place: Place) -> Format | None:
        for rule in self.rules:
            if rule.applies(role, names, place):
                return rule.format
        return self.by_role.get(role)
