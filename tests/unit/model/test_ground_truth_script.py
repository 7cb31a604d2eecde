"""The parts of scripts/ground_truth.py that need no GPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "ground_truth.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ground_truth", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def csv_of(script: ModuleType, *kernels: dict[str, str]) -> str:
    names = ["ID", "Kernel Name", *script.METRICS]
    lines = ["==PROF== Connected to process 1", ",".join(f'"{name}"' for name in names)]
    lines.append(",".join(['""', '""', *['"byte"'] * len(script.METRICS)]))
    for index, kernel in enumerate(kernels):
        cells = [str(index), kernel.get("name", "gemm"), *(kernel.get(metric, "0") for metric in script.METRICS)]
        lines.append(",".join(f'"{cell}"' for cell in cells))
    return "\n".join(lines)


def test_counters_are_summed_over_kernels_and_thousands_separators_read(script: ModuleType) -> None:
    text = csv_of(script, {script.TENSOR: "1,000", script.READ: "5"}, {script.TENSOR: "500", script.READ: "7"})
    sums = script.sum_counters(script.read_kernels(text))
    assert (sums["kernels"], sums[script.TENSOR], sums[script.READ]) == (2, 1500, 12)


def test_kernels_of_a_name_are_told_apart_by_what_they_moved(script: ModuleType) -> None:
    copy = "void at::native::<unnamed>::CatArrayBatchedCopy<OpaqueType<2>, unsigned int, 4>(T1 *, int)"
    text = csv_of(
        script,
        {"name": "nvjet_tst", script.READ: "5"},
        {"name": copy, script.READ: "6", script.WRITE: "1"},
        {"name": "nvjet_tst", script.WRITE: "1"},
    )
    groups = script.by_name(script.read_kernels(text))
    assert [(row["kernel"], row["count"]) for row in groups] == [("CatArrayBatchedCopy", 1), ("nvjet_tst", 2)]
    assert (groups[1]["dram_read_bytes"], groups[1]["dram_write_bytes"]) == (5, 1)


def test_a_range_without_kernels_or_a_metric_without_value_is_an_error(script: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="no kernel"):
        script.read_kernels(csv_of(script))
    with pytest.raises(RuntimeError, match="no value"):
        script.read_kernels(csv_of(script, {script.TENSOR: ""}))
    with pytest.raises(RuntimeError, match="no table"):
        script.read_kernels("==ERROR== no permission")


@pytest.mark.parametrize("name", ["hd64", "hd128", "moe"])
def test_the_second_decode_step_has_one_more_cached_token(script: ModuleType, name: str) -> None:
    first, second = (script.estimated(name, 1, 128, phase) for phase in ("decode_0", "decode_1"))
    heads, dim = (script.MODELS[name][key] for key in ("num_attention_heads", "head_dim"))
    assert second["flops"] - first["flops"] == 2 * 4 * heads * dim


def test_ratios_compare_counted_with_estimated(script: ModuleType) -> None:
    counters = dict.fromkeys(script.METRICS, 10.0) | {"kernels": 3.0}
    row = script.compare(counters, {"flops": 5, "flops_full": 6, "bytes": 40, "activation_bytes": 1})
    assert (row["flops_ratio"], row["bytes_ratio"], row["fp32_flops"]) == (2.0, 0.5, 40.0)
