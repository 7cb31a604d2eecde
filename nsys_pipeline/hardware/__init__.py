"""GPU → cited dense peaks per dtype and memory bandwidth. Pure; data in ``gpus.toml``."""

from nsys_pipeline.hardware.derive import clock_of_peaks, derive_gpu
from nsys_pipeline.hardware.gpu import (
    Gpu,
    all_gpus,
    checked_bandwidth,
    checked_peaks,
    describe_known,
    find_gpu,
    gpus_like,
    gpus_named,
    parse_bandwidth,
    parse_peaks,
    with_overrides,
)

__all__ = [
    "Gpu",
    "all_gpus",
    "checked_bandwidth",
    "checked_peaks",
    "clock_of_peaks",
    "derive_gpu",
    "describe_known",
    "find_gpu",
    "gpus_like",
    "gpus_named",
    "parse_bandwidth",
    "parse_peaks",
    "with_overrides",
]
