"""Names and sizes of number formats."""

from __future__ import annotations

from nsys_pipeline.errors import ModelError

#: Bits of one element. Block formats carry their scales apart (see `quantization.Format`).
BITS: dict[str, int] = {
    "fp64": 64,
    "fp32": 32,
    "tf32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "int8": 8,
    "fp4": 4,
    "int4": 4,
}

#: fp4 with scales: formats of weights (`quantization.named_format`) whose products' dtype is fp4.
_BLOCK_FORMATS = ("mxfp4", "nvfp4")

_ALIASES: dict[str, str] = {
    "float64": "fp64",
    "double": "fp64",
    "float32": "fp32",
    "float": "fp32",
    "tfloat32": "tf32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float8": "fp8",
    "float8_e4m3fn": "fp8",
    "float8_e4m3": "fp8",
    "float8_e5m2": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "e4m3": "fp8",
    "e5m2": "fp8",
    "float4": "fp4",
    "float4_e2m1fn_x2": "fp4",
    **dict.fromkeys(_BLOCK_FORMATS, "fp4"),
}


def normalize_dtype(name: str) -> str:
    """Short name of a number format: ``torch.bfloat16`` → ``bf16``. Raises ModelError for an unknown one."""
    key = name.strip().lower().removeprefix("torch.")
    key = _ALIASES.get(key, key)
    if key not in BITS:
        raise ModelError(f"unknown dtype `{name}`", hint=f"known dtypes: {', '.join((*BITS, *_BLOCK_FORMATS))}")
    return key


#: Caches in fp4 with scales of 8 bits, one for so many values: OCP's MX formats (v1.0), and NVFP4, whose float32 scale
#: of a whole tensor is not counted.
SCALED_CACHES = {"nvfp4": 16, "mxfp4": 32}

#: Blocks of 32 values in caches of llama.cpp → bytes of one, its 16-bit scale (and, of `_1`, minimum) with it (ggml).
BLOCK_CACHES = {"q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18, "iq4_nl": 18}

#: Dtypes of caches that engines store with scales, or without: nothing in the name says which.
BARE_CACHES = ("int8", "int4")

#: A format of a cache of latents: the latent in fp8 with a float32 scale for each 128 values, its rotary key in 16 bits
#: (docs of FlashMLA and vLLM: 512 + 4 · 4 + 64 · 2 = 656 bytes for DeepSeek-V3.2); an indexer's keys are
#: in fp8 with such scales, too.
PACKED_LATENTS = "fp8_ds_mla"


def normalize_cache_dtype(name: str) -> str:
    """The same for what a KV cache is stored in, which has formats of its own: packed latents, blocks with scales."""
    key = name.strip().lower()
    own = (PACKED_LATENTS, *SCALED_CACHES, *BLOCK_CACHES)
    if key in own:
        return key
    try:
        return normalize_dtype(name)
    except ModelError as error:
        raise ModelError(error.message, hint=f"known formats of a cache: {', '.join((*BITS, *own))}") from error


def cache_bytes(elements: int, dtype: str) -> int:
    """Bytes of `elements` values of a KV cache that is stored in `dtype`, rounded up."""
    if dtype in BLOCK_CACHES:
        return -(-elements // 32) * BLOCK_CACHES[dtype]
    values = SCALED_CACHES.get(dtype)
    return bytes_of(elements, dtype) if values is None else bytes_of(elements, "fp4") + -(-elements // values)


def bare_cache(dtype: str | None) -> str | None:
    """A sentence about the scales that a cache in `dtype` may have and that its bytes lack; None if there are none."""
    if dtype not in BARE_CACHES:
        return None
    return (
        f"the KV cache is counted as {dtype} values without scales: caches of LMDeploy have 32 bits of them for each"
        " head and token, and their KV bytes are too low"
    )


def scaled_fp8_bytes(elements: int) -> int:
    """Bytes of values in fp8 with a float32 scale for each 128 of them."""
    return elements + 4 * -(-elements // 128)


def bytes_of(elements: int, dtype: str) -> int:
    """Bytes of `elements` packed values of `dtype`, rounded up."""
    return -(-elements * BITS[dtype] // 8)
