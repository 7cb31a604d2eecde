"""The ceiling that a user measured: kept per machine, shown beside the datasheet's peak, never instead of it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import platformdirs

from nsys_pipeline.errors import HardwareError


@attrs.frozen(kw_only=True)
class Measured:
    """Best rates seen on one GPU: dense GEMMs by dtype, and a copy counted as bytes read plus bytes written."""

    name: str
    flops_per_s: dict[str, float]
    bandwidth_bytes_per_s: float
    method: str


def measured_path() -> Path:
    """Where measurements are kept."""
    return Path(platformdirs.user_data_dir("llmperf")) / "measured_gpus.json"


def load_measured(path: Path | None = None) -> dict[str, Measured]:
    """Stored measurements by the GPU's CUDA name, if any. Raises HardwareError for a damaged file."""
    path = path or measured_path()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: Measured(name=name, **entry) for name, entry in data.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HardwareError(
            f"`{path}` is not a list of measurements: {error}", hint="delete it and measure again"
        ) from error


def store_measured(result: Measured, path: Path | None = None) -> Path:
    """Add or replace one measurement; returns the file."""
    path = path or measured_path()
    entries = {**load_measured(path), result.name: result}
    data = {
        name: attrs.asdict(entry, filter=lambda attribute, _: attribute.name != "name")
        for name, entry in entries.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise HardwareError(f"cannot write `{path}`: {error}") from error
    return path
