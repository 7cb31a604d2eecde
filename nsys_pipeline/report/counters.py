"""Hardware counters of each phase, as the capture sampled them."""

from __future__ import annotations

from nsys_pipeline.records import Report
from nsys_pipeline.report.document import Column, Section, Table

_COLUMNS = {
    "tensor_active_ratio": "tensor\npipe %",
    "sm_active_ratio": "SM\nactive %",
    "sm_issue_ratio": "SM\nissue %",
    "dram_read_ratio": "DRAM\nread %",
    "dram_write_ratio": "DRAM\nwrite %",
    "pcie_rx_ratio": "PCIe\nin %",
    "pcie_tx_ratio": "PCIe\nout %",
    "nvlink_rx_ratio": "NVLink\nin %",
    "nvlink_tx_ratio": "NVLink\nout %",
}


def measured_section(report: Report) -> Section | None:
    """A row for each phase that samples cover, a column for each counter that they have; None without samples."""
    rows = [(phase.name, phase.measured) for phase in report.phases if phase.measured is not None]
    if not rows:
        return None
    of_phases = [measured for _, measured in rows]
    columns = [Column.name("phase", [name for name, _ in rows])]
    for counter, heading in _COLUMNS.items():
        if any(measured.busy[counter] is not None for measured in of_phases):
            columns.append(Column.percent(heading, [measured.busy[counter] for measured in of_phases]))
    columns.append(Column.percent("±\n%", [measured.busy_ratio_error for measured in of_phases]))
    if any(measured.nvlink_busy_ratio_error is not None for measured in of_phases):
        columns.append(Column.percent("NVLink\n± %", [measured.nvlink_busy_ratio_error for measured in of_phases]))
    clocks = [measured.sm_clock_hz and round(measured.sm_clock_hz / 1e6) for measured in of_phases]
    if any(clocks):
        columns.append(Column.count("SM\nMHz", clocks))
    title = "hardware counters: the share of peak while the GPU works on the phase, as nsys sampled it"
    return Section("counters", (Table(columns),), title=title)
