"""Reports (.ncu-rep) read with the package `ncu-report`: a stand-in of its interface, and the real one if installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from nsys_pipeline.errors import TraceError
from nsys_pipeline.ncu import read_report
from nsys_pipeline.ncu.command import APART, DRAM_READ, DRAM_WRITE, FADD, FFMA, FMUL, METRICS, TENSOR_FLOPS, TIME


@attrs.frozen
class Metric:
    """IMetric: a metric that the report lists may have no value, and reads as 0 then."""

    value: float | None

    def has_value(self) -> bool:
        return self.value is not None

    def as_double(self) -> float:
        return self.value or 0.0


@attrs.frozen
class Action:
    """IAction: one kernel, under its function's name. A metric that was not collected is None."""

    function: str
    metrics: Mapping[str, float | None]

    def name(self) -> str:
        return self.function

    def metric_by_name(self, name: str) -> Metric | None:
        return Metric(self.metrics[name]) if name in self.metrics else None


@attrs.frozen
class Range:
    actions: Sequence[Action]

    def num_actions(self) -> int:
        return len(self.actions)

    def action_by_idx(self, index: int) -> Action:
        return self.actions[index]


@attrs.frozen
class Context:
    """What load_report() returns; of a file that is no report, one without ranges."""

    ranges: Sequence[Range]

    def num_ranges(self) -> int:
        return len(self.ranges)

    def range_by_idx(self, index: int) -> Range:
        return self.ranges[index]


def install(monkeypatch: pytest.MonkeyPatch, *ranges: Range) -> list[str]:
    """The stand-in as `ncu_report`; returns the list of what it was asked to load."""
    module, loaded = ModuleType("ncu_report"), []

    def load_report(path: str) -> Context:
        loaded.append(path)
        return Context(ranges)

    module.load_report = load_report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ncu_report", module)
    return loaded


def test_every_kernel_of_every_range_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gemm = {TIME: 2000.0, TENSOR_FLOPS: 4e6, FADD: 10, FMUL: 30, FFMA: 20, DRAM_READ: 1500, DRAM_WRITE: None}
    loaded = install(
        monkeypatch,
        Range([Action("void ns::gemm<float, (int)4>(int)", gemm), Action("copy", {TIME: 5.0})]),
        Range([Action("gemm", {**gemm, DRAM_WRITE: 500})]),
    )

    first, copy, second = read_report(tmp_path / "kernels.ncu-rep").kernels

    assert loaded == [str(tmp_path / "kernels.ncu-rep")]
    assert (first.name, first.time_ns, first.flops) == ("gemm", 2000, 4e6 + 10 + 30 + 2 * 20)
    # Without a value is not known, and not 0.
    assert (first.dram_read_bytes, first.dram_write_bytes, first.dram_bytes) == (1500, None, None)
    assert (copy.name, copy.time_ns, copy.flops, copy.dram_bytes) == ("copy", 5, None, None)
    assert second.dram_bytes == 2000
    assert (first.launch, copy.launch, second.launch) == (1, 1, 2)


def test_kernels_of_several_gpus_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = ((5.0, 0), (6.0, 1), (7.0, 1))
    actions = [Action("gemm", {TIME: time, "launch__device_id": device}) for time, device in measured]
    install(monkeypatch, Range(actions))

    profile = read_report(tmp_path / "kernels.ncu-rep")

    assert [(one.device, one.launch) for one in profile.kernels] == [(0, 1), (1, 1), (1, 2)]
    chosen, other = profile.of_device(1)
    assert ([one.time_ns for one in chosen], other) == ([6.0, 7.0], 1)


@pytest.mark.parametrize(("major", "flops"), [(8, 42.0), (9, 2.0), (None, 2.0)])
def test_tensor_flops_of_other_inputs_count_where_they_are_apart(
    major: int | None, flops: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    metrics = {TIME: 5.0, TENSOR_FLOPS: 2.0, APART[1]: 40.0, "device__attribute_compute_capability_major": major}
    install(monkeypatch, Range([Action("gemm", metrics)]))

    (kernel,) = read_report(tmp_path / "kernels.ncu-rep").kernels

    assert kernel.tensor_flops == flops


def test_a_report_of_other_counters_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, Range([Action("gemm", {"sm__throughput.avg": 3.0, TIME: None})]))

    with pytest.raises(TraceError, match="none of the counters"):
        read_report(tmp_path / "kernels.ncu-rep")


def test_a_report_without_kernels_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)

    with pytest.raises(TraceError, match="has no kernel that ncu-report reads"):
        read_report(tmp_path / "damaged.ncu-rep")


def test_without_the_package_it_says_how_to_read_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ncu_report", None)

    with pytest.raises(TraceError, match="needs the package ncu-report") as caught:
        read_report(tmp_path / "kernels.ncu-rep")

    assert "pip install ncu-report" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"no report"])
def test_the_real_package_on_a_file_that_is_no_report(content: bytes, tmp_path: Path) -> None:
    ncu_report = pytest.importorskip("ncu_report", reason="needs the extra `ncu`")
    path = tmp_path / "kernels.ncu-rep"
    path.write_bytes(content)

    with pytest.raises(TraceError, match="no kernel"):
        read_report(path)

    # The stand-in above has the names of the real interface.
    for stand_in, real in (
        (Metric, ncu_report.IMetric), (Action, ncu_report.IAction), (Range, ncu_report.IRange),
        (Context, ncu_report.IContext),
    ):  # fmt: skip
        methods = {name for name in vars(stand_in) if not name.startswith("_")} - {
            field.name for field in attrs.fields(stand_in)
        }
        assert methods <= set(dir(real)), stand_in
    assert len(METRICS) == 7
