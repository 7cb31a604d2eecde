"""What a user measured is kept beside the datasheet's figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.errors import HardwareError
from nsys_pipeline.hardware.measured import Measured, load_measured, store_measured


def measured(name: str, rate: float) -> Measured:
    return Measured(name=name, flops_per_s={"bf16": rate}, bandwidth_bytes_per_s=3e12, method="test")


def test_a_measurement_is_stored_and_replaced_by_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "measured.json"
    assert load_measured(path) == {}
    store_measured(measured("A", 1e14), path)
    store_measured(measured("B", 2e14), path)
    store_measured(measured("A", 3e14), path)
    assert {name: entry.flops_per_s["bf16"] for name, entry in load_measured(path).items()} == {"A": 3e14, "B": 2e14}


@pytest.mark.parametrize("content", ["{", "[1]", '{"A": {"flops": 1}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "measured.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HardwareError, match="not a list of measurements"):
        load_measured(path)
