"""What a GPU could do: peaks per dtype and memory bandwidth, each with its source."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from nsys_pipeline.errors import HardwareError, UsageError

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
_TERA, _GIGA = 1e12, 1e9


def _frozen(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


@attrs.frozen(kw_only=True)
class Gpu:
    """Peaks of one GPU model.

    `peaks_flops_per_s` holds dense rates with FP32 accumulation (int8: operations per second), by dtype; a dtype
    without an entry is unknown or not supported. `label` says where they come from: ``datasheet``, ``derived``
    (SM × clock × a rate per SM), ``override`` (the user) or ``measured``. `source` names the document, `checked` what
    its cells were compared with. `nvlink_bytes_per_s` is the rate of all its NVLink links in one direction, None
    where it has none or only a bridge that may be there. `l2_cache_bytes` is the size of its L2 cache.
    """

    name: str
    peaks_flops_per_s: Mapping[str, float] = attrs.field(converter=_frozen)
    bandwidth_bytes_per_s: float | None
    source: str
    label: str = "datasheet"
    sm_count: int | None = None
    compute_capability: str | None = None
    memory: str | None = None
    nvlink_bytes_per_s: float | None = None
    l2_cache_bytes: int | None = None
    patterns: tuple[str, ...] = ()
    checked: str | None = None

    def ridge_flops_per_byte(self, dtype: str) -> float | None:
        """Arithmetic intensity above which the GPU is compute-bound for a dtype; None where a rate is unknown."""
        peak = self.peaks_flops_per_s.get(dtype)
        return None if not peak or not self.bandwidth_bytes_per_s else peak / self.bandwidth_bytes_per_s


_REQUIRED = frozenset({"name", "names", "bandwidth", "peaks", "source", "checked"})
_OPTIONAL = frozenset({"sm_count", "compute_capability", "memory", "nvlink", "l2_cache"})


def entry(raw: Mapping[str, Any]) -> Gpu:
    """A row of the table. Raises HardwareError, which names the card, for keys that it lacks or that nobody reads."""
    lacking, unknown = _REQUIRED - raw.keys(), raw.keys() - _REQUIRED - _OPTIONAL
    unknown |= raw.get("peaks", {}).keys() - set(DTYPES)
    if lacking or unknown:
        said = [*(f"lacks {key}" for key in sorted(lacking)), *(f"has an unknown {key}" for key in sorted(unknown))]
        raise HardwareError(f"gpus.toml: {raw.get('name', 'a GPU without a name')} {', '.join(said)}")
    return Gpu(
        name=raw["name"],
        peaks_flops_per_s={dtype: float(value) * _TERA for dtype, value in raw["peaks"].items()},
        bandwidth_bytes_per_s=float(raw["bandwidth"]) * _GIGA,
        source=raw["source"],
        sm_count=raw.get("sm_count"),
        compute_capability=raw.get("compute_capability"),
        memory=raw.get("memory"),
        nvlink_bytes_per_s=float(raw["nvlink"]) * _GIGA if "nvlink" in raw else None,
        l2_cache_bytes=raw["l2_cache"] * 2**20 if "l2_cache" in raw else None,
        patterns=tuple(raw["names"]),
        checked=raw["checked"],
    )


@cache
def all_gpus() -> tuple[Gpu, ...]:
    """Every GPU with cited peaks, in the order of the table."""
    path = Path(__file__).parent / "gpus.toml"
    return tuple(entry(raw) for raw in tomllib.loads(path.read_text(encoding="utf-8"))["gpu"])


def _normalize(name: str) -> str:
    words = re.sub(r"[-_\s]+", " ", name.lower()).split()
    return " ".join(word for word in words if word not in ("nvidia", "tesla", "graphics", "device"))


def find_gpu(name: str, *, sm_count: int | None = None, bandwidth_bytes_per_s: float | None = None) -> Gpu | None:
    """The GPU that CUDA reports as `name` ("NVIDIA H100 80GB HBM3") or that the table calls so ("H100 SXM").

    `sm_count` and the bandwidth that CUDA states tell GPUs apart that report the same name. None for a name that is not
    exactly known: a MIG slice, a laptop part or an ambiguous short name has no peak here.
    """
    key = _normalize(name)
    found = [gpu for gpu in all_gpus() if key == _normalize(gpu.name)]
    found = found or [gpu for gpu in all_gpus() if any(re.fullmatch(pattern, key) for pattern in gpu.patterns)]
    if len(found) > 1:
        found = [gpu for gpu in found if gpu.sm_count == sm_count]
    if len(found) > 1:
        found = [gpu for gpu in found if _near(gpu.bandwidth_bytes_per_s, bandwidth_bytes_per_s)]
    return found[0] if len(found) == 1 else None


def _near(datasheet: float | None, stated: float | None) -> bool:
    """Whether clocks and rounding may be all that two bandwidths differ by."""
    return bool(datasheet and stated and abs(stated / datasheet - 1) < 0.1)


def gpus_named(part: str) -> list[Gpu]:
    """GPUs for a person's search: the exact one, or all whose name has every word of `part`, as a whole word."""
    exact = find_gpu(part)
    if exact is not None:
        return [exact]
    words = set(_normalize(part).split())
    return [gpu for gpu in all_gpus() if words and words <= set(_normalize(gpu.name).split())]


def gpus_like(name: str) -> list[Gpu]:
    """GPUs to offer for a name that is not one: those `gpus_named` finds, else those that share most words with it.

    Of these, those with the fewest words of their own. Sizes of memory are no words here: "H20 96GB" is nearer to H20
    than to GH200 96GB, and to H20-3e.
    """
    words = _words(name)
    near = [(len(words & _words(gpu.name)), -len(_words(gpu.name) - words), gpu) for gpu in all_gpus()]
    most, fewest = max((shared, own) for shared, own, _ in near)
    return gpus_named(name) or [gpu for shared, own, gpu in near if most and (shared, own) == (most, fewest)]


def _words(name: str) -> set[str]:
    return {word for word in _normalize(name).split() if not re.fullmatch(r"\d+gb?", word)}


def describe_known(gpus: Iterable[Gpu] | None = None) -> str:
    """Names of all known GPUs, for hints."""
    return ", ".join(gpu.name for gpu in (all_gpus() if gpus is None else gpus))


def parse_peaks(options: Iterable[str]) -> dict[str, float]:
    """Read ``--peak DTYPE=TFLOPS`` options into FLOP/s by dtype.

    A plain number is in TFLOP/s; ``989T``, ``1.5P`` and ``9.89e14`` (anything from 1e9 on is FLOP/s) work too. Raises
    UsageError for an unknown dtype or a rate that is not positive.
    """
    peaks = {}
    for option in options:
        dtype, separator, value = option.partition("=")
        dtype = dtype.strip().lower()
        if not separator or dtype not in DTYPES:
            raise UsageError(
                f"`--peak {option}` is not DTYPE=TFLOPS",
                hint=f"for example --peak bf16=989; dtypes: {', '.join(DTYPES)}",
            )
        peaks[dtype] = _rate(f"--peak {option}", value, _TERA)
    return peaks


def parse_bandwidth(option: str) -> float:
    """Read ``--bandwidth GB/S`` into bytes per second; ``3.35T`` and ``3.35e12`` work too."""
    return _rate(f"--bandwidth {option}", option, _GIGA)


#: No GPU computes or moves less than this per second (the slowest in the table: 3.3e12 FLOP/s, 200e9 B/s).
_LEAST, _MOST = 1e9, 1e18


def checked_peaks(peaks: Mapping[str, float | str]) -> dict[str, float]:
    """Peaks in FLOP/s by dtype, as a program passes them; a string is read as `parse_peaks` reads one (``"989T"``).

    Raises UsageError for an unknown dtype, for what is no number, and for a number below 1e9: 989 is TFLOP/s, surely,
    and MFU would be off by 10^12.
    """
    result = {}
    for dtype, value in peaks.items():
        name = dtype.strip().lower() if isinstance(dtype, str) else dtype
        if name not in DTYPES:
            raise UsageError(f"`{dtype}` is no dtype that a GPU has a peak for", hint=f"dtypes: {', '.join(DTYPES)}")
        result[name] = _per_second(f"peaks[{name!r}]", value, "FLOP/s", _TERA)
    return result


def checked_bandwidth(bandwidth: float | str) -> float:
    """Bytes per second, as a program passes them; a string is read as `parse_bandwidth` reads one (``"3.35T"``).

    Raises UsageError for what is no number, and for a number below 1e9, which is GB/s, surely.
    """
    return _per_second("bandwidth", bandwidth, "B/s", _GIGA)


def _per_second(what: str, value: float | str, unit: str, factor: float) -> float:
    if isinstance(value, str):
        return _rate(what, value, factor)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
        raise UsageError(f"{what} = {value!r} is not a positive rate in {unit}", hint=f"for example {factor:.0e}")
    if value < _LEAST:
        prefix = "T" if factor == _TERA else "G"
        raise UsageError(
            f"{what} = {value!r} {unit} is far below any GPU's",
            hint=f"pass {value * factor:.6g} if {value!r} is in {prefix}{unit}",
        )
    return float(value)


_RATE = re.compile(
    r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*([gtp])?(?:flop/?s|flops|b/s|bytes/s|op/?s|ops|/s)?\s*", re.IGNORECASE
)


def _rate(option: str, text: str, unit: float) -> float:
    match = _RATE.fullmatch(text)
    try:
        value = float(match[1]) if match else float("nan")
    except ValueError:
        value = float("nan")
    if not match or not 0 < value < _MOST:
        raise UsageError(f"`{option}` is not a positive rate")
    if match[2]:
        return value * {"g": 1e9, "t": 1e12, "p": 1e15}[match[2].lower()]
    return value if value >= 1e9 else value * unit


def with_overrides(gpu: Gpu | None, name: str, peaks: Mapping[str, float], bandwidth: float | None) -> Gpu | None:
    """`gpu` with the user's peaks and bandwidth in place of its own; a GPU of its own where `gpu` is None.

    Returns `gpu` unchanged where nothing is overridden.
    """
    if not peaks and bandwidth is None:
        return gpu
    if gpu is None:
        return Gpu(
            name=name,
            peaks_flops_per_s=peaks,
            bandwidth_bytes_per_s=bandwidth,
            source="--peak and --bandwidth",
            label="override",
        )
    given = ", ".join([f"--peak {dtype}" for dtype in peaks] + (["--bandwidth"] if bandwidth is not None else []))
    return attrs.evolve(
        gpu,
        peaks_flops_per_s={**gpu.peaks_flops_per_s, **peaks},
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s if bandwidth is None else bandwidth,
        source=f"{given}; otherwise {'derived: ' if gpu.label == 'derived' else ''}{gpu.source}",
        label="override",
    )
