"""Names that CUDA reports, cells of the table, overrides and derived peaks."""

from __future__ import annotations

import re

import pytest

from nsys_pipeline.errors import HardwareError, UsageError
from nsys_pipeline.hardware import (
    Gpu,
    all_gpus,
    checked_bandwidth,
    checked_peaks,
    derive_gpu,
    find_gpu,
    gpus_like,
    gpus_named,
    parse_bandwidth,
    parse_peaks,
    with_overrides,
)
from nsys_pipeline.hardware.gpu import entry

REPORTED = {
    "Tesla V100-SXM2-16GB": "V100 SXM2",
    "Tesla V100-SXM2-32GB": "V100 SXM2",
    "Tesla V100-PCIE-32GB": "V100 PCIe",
    "Tesla V100S-PCIE-32GB": "V100S PCIe",
    "Tesla T4": "T4",
    "A100-SXM4-40GB": "A100 40GB",
    "NVIDIA A100-SXM4-40GB": "A100 40GB",
    "NVIDIA A100-PCIE-40GB": "A100 40GB",
    "NVIDIA A100-SXM4-80GB": "A100 80GB SXM",
    "NVIDIA A100 80GB PCIe": "A100 80GB PCIe",
    "NVIDIA A30": "A30",
    "NVIDIA A10": "A10",
    "NVIDIA A10G": "A10G",
    "NVIDIA A40": "A40",
    "NVIDIA L4": "L4",
    "NVIDIA L40": "L40",
    "NVIDIA L40S": "L40S",
    "NVIDIA GeForce RTX 3090": "RTX 3090",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA GeForce RTX 5090": "RTX 5090",
    "NVIDIA RTX A6000": "RTX A6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA H20": "H20",
    "NVIDIA GH200 480GB": "GH200 96GB",
    "NVIDIA GH200 144G HBM3e": "GH200 144GB",
    "NVIDIA B100": "B100",
    "NVIDIA B200": "B200",
    "NVIDIA GB200": "GB200",
    "NVIDIA B300 SXM6 AC": "B300",
    "NVIDIA A100-SXM-80GB": "A100 80GB SXM",
    "NVIDIA GeForce RTX 4080": "RTX 4080",
    "NVIDIA GeForce RTX 5080": "RTX 5080",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTX PRO 6000 Blackwell Workstation",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "RTX PRO 6000 Blackwell Max-Q",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX PRO 6000 Blackwell Server",
    "NVIDIA GB10": "GB10",
    "NVIDIA GB300": "GB300",
    "NVIDIA H20-3e": "H20-3e",
    "NVIDIA H100 96GB HBM3": "H100 SXM",
    "NVIDIA H100 64GB HBM2": "H100 SXM 64GB",
    "NVIDIA H800 NVL": "H100 NVL",
    "NVIDIA A800-SXM4-40GB": "A100 40GB",
    "NVIDIA A800 40GB Active": "A100 40GB",
    "NVIDIA L20": "L20",
    "NVIDIA L2": "L2",
    "NVIDIA A2": "A2",
    "NVIDIA A16": "A16",
    "NVIDIA GeForce RTX 4090 D": "RTX 4090 D",
    "NVIDIA GeForce RTX 5090 D": "RTX 5090 D",
    "NVIDIA GeForce RTX 5090 D v2": "RTX 5090 D v2",
    "NVIDIA GeForce RTX 4080 SUPER": "RTX 4080 SUPER",
    "NVIDIA GeForce RTX 3090 Ti": "RTX 3090 Ti",
    "NVIDIA RTX 5000 Ada Generation": "RTX 5000 Ada",
    "NVIDIA RTX 4500 Ada Generation": "RTX 4500 Ada",
    "NVIDIA RTX 4000 Ada Generation": "RTX 4000 Ada",
    "NVIDIA RTX A5000": "RTX A5000",
    "NVIDIA RTX A4000": "RTX A4000",
    "Quadro RTX 8000": "Quadro RTX 8000",
    "Quadro RTX 6000": "Quadro RTX 6000",
    "NVIDIA RTX PRO 5000 Blackwell": "RTX PRO 5000 Blackwell",
    "NVIDIA RTX PRO 5000 72GB Blackwell": "RTX PRO 5000 Blackwell",
    "NVIDIA RTX PRO 4500 Blackwell": "RTX PRO 4500 Blackwell",
    "Tesla P100-SXM2-16GB": "P100 SXM2",
    "Tesla P100-PCIE-16GB": "P100 PCIe",
    "Tesla P100-PCIE-12GB": "P100 PCIe 12GB",
    "Tesla P40": "P40",
}
H100S = {"H100 SXM", "H100 PCIe", "H100 NVL", "H100 SXM 64GB"}
#: Names that several GPUs report: SMs and GB/s that CUDA states with it, and which GPU that is.
SHARED = [
    ("NVIDIA Thor", 20, None, "Jetson T5000"),
    ("NVIDIA Thor", 12, None, "Jetson T4000"),
    ("NVIDIA Thor", None, None, None),
    ("NVIDIA Thor", 10, 273, None),
    ("Orin", 16, None, "Jetson AGX Orin 64GB"),
    ("Orin", 14, None, "Jetson AGX Orin 32GB"),
    ("Orin", 8, None, None),  # Orin NX and Orin Nano, at several clocks
    ("NVIDIA GeForce RTX 3080", 68, None, "RTX 3080 10GB"),
    ("NVIDIA GeForce RTX 3080", 70, 912, "RTX 3080 12GB"),
    ("NVIDIA GeForce RTX 3060", 28, 360, "RTX 3060 12GB"),
    ("NVIDIA GeForce RTX 3060", 28, 240, "RTX 3060 8GB"),
    ("NVIDIA GeForce RTX 3060", 28, None, None),
]
#: TFLOP/s of bf16 (fp16 where there is no bf16) and GB/s, from the vendor's figures without sparsity.
CELLS = {
    "V100 SXM2": (125, 900),
    "T4": (65, 320),
    "A100 40GB": (312, 1555),
    "A100 80GB PCIe": (312, 1935),
    "A100 80GB SXM": (312, 2039),
    "A30": (165, 933),
    "A10": (125, 600),
    "A10G": (70, 600),
    "A40": (149.7, 696),
    "L4": (121, 300),
    "L40": (181.05, 864),
    "L40S": (362.05, 864),
    "RTX 3090": (71, 936),
    "RTX 4090": (165.2, 1008),
    "RTX 5090": (209.5, 1792),
    "H100 SXM": (989.4, 3350),
    "H100 PCIe": (756, 2000),
    "H100 NVL": (835.5, 3900),
    "H200 SXM": (989.5, 4800),
    "H20": (148, 4000),
    "GH200 96GB": (989.5, 4000),
    "RTX PRO 6000 Blackwell Workstation": (503.8, 1792),
    "B200": (2250, 7700),
    "B300": (2250, 7700),
    "H20-3e": (148, 4800),
    "L20": (119.5, 864),
    "A2": (18, 200),
    "RTX 4090 D": (147.1, 1008),
    "RTX 5000 Ada": (261.1, 576),
    "RTX A5000": (111.1, 768),
    "Quadro RTX 6000": (130.5, 672),
    "GB200": (2500, 8000),
    "GB300": (2500, 8000),
}


@pytest.mark.parametrize(("reported", "name"), REPORTED.items())
def test_a_reported_name_finds_its_gpu(reported: str, name: str) -> None:
    found = find_gpu(reported)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "reported",
    [
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100X",
        "NVIDIA H100",
        "Quadro RTX 6000 with Max-Q Design",
        "NVIDIA RTX A5000 Laptop GPU",
        "NVIDIA GeForce RTX 5080 Laptop GPU",
        "NVIDIA B200 MIG 1g.23gb",
        "NVIDIA Thor",  # two modules of 20 and of 12 SMs report this name
        "AMD Instinct MI300X",
        "",
    ],
)
def test_what_is_not_exactly_known_has_no_peak(reported: str) -> None:
    assert find_gpu(reported) is None


@pytest.mark.parametrize(("reported", "sm_count", "gigabytes", "name"), SHARED)
def test_a_name_that_several_gpus_report_needs_more(
    reported: str, sm_count: int | None, gigabytes: float | None, name: str | None
) -> None:
    found = find_gpu(reported, sm_count=sm_count, bandwidth_bytes_per_s=gigabytes and gigabytes * 1e9)
    assert (found.name if found else None) == name


def test_gpus_that_share_a_name_can_be_told_apart() -> None:
    patterns: dict[str, list[Gpu]] = {}
    for gpu in all_gpus():
        for pattern in gpu.patterns:
            patterns.setdefault(pattern, []).append(gpu)
    for gpus in patterns.values():
        assert len({(gpu.sm_count, gpu.bandwidth_bytes_per_s) for gpu in gpus}) == len(gpus)
        assert len(gpus) == 1 or all(gpu.sm_count for gpu in gpus)


@pytest.mark.parametrize(("name", "cell"), CELLS.items())
def test_cells_are_dense_figures(name: str, cell: tuple[float, float]) -> None:
    gpu = find_gpu(name)
    assert gpu is not None
    peak = gpu.peaks_flops_per_s.get("bf16", gpu.peaks_flops_per_s["fp16"])
    assert (peak, gpu.bandwidth_bytes_per_s) == (pytest.approx(cell[0] * 1e12), pytest.approx(cell[1] * 1e9))


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
def test_every_gpu_has_a_source_and_plausible_ratios(gpu) -> None:  # type: ignore[no-untyped-def]
    peaks = gpu.peaks_flops_per_s
    assert gpu.source
    assert gpu.checked
    assert gpu.label == "datasheet"
    if "bf16" in peaks:
        assert peaks["bf16"] == peaks["fp16"]
        # GeForce and L40 run TF32 at the rate of FP32, and a data-centre part at half of bf16.
        assert peaks.get("tf32", peaks["bf16"] / 2) == pytest.approx(peaks["bf16"] / 2, rel=0.03)
    if "fp8" in peaks:
        assert peaks["fp8"] == pytest.approx(2 * peaks["bf16"], rel=0.03)


def test_what_nvidia_does_not_publish_is_unknown() -> None:
    gb10 = find_gpu("NVIDIA GB10")
    assert gb10 is not None
    assert set(gb10.peaks_flops_per_s) == {"fp32", "fp4"}


def test_tensor_rates_of_a_datacentre_part_keep_their_proportions() -> None:
    b200 = find_gpu("B200")
    assert b200 is not None
    peaks = b200.peaks_flops_per_s
    assert [peaks[name] / peaks["tf32"] for name in ("bf16", "fp8", "int8", "fp4")] == [2, 4, 4, 8]


def test_names_match_one_gpu_only() -> None:
    for reported in REPORTED:
        assert len(gpus_named(reported)) == 1


def test_a_person_may_search_by_part_of_a_name() -> None:
    assert {gpu.name for gpu in gpus_named("h100")} == H100S
    assert [gpu.name for gpu in gpus_named("h200 nvl")] == ["H200 NVL"]
    assert [gpu.name for gpu in gpus_named("H100 PCIe")] == ["H100 PCIe"]
    assert {gpu.name for gpu in gpus_named("a100 80gb")} == {"A100 80GB SXM", "A100 80GB PCIe"}
    assert gpus_named("nonesuch") == []


def test_words_of_a_search_are_whole_words() -> None:
    assert gpus_named("NVIDIA H20 96GB") == []
    assert {gpu.name for gpu in gpus_named("gh200")} == {"GH200 96GB", "GH200 144GB"}
    assert gpus_named("h20x") == gpus_named("10") == gpus_named("") == []


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("NVIDIA H20 96GB", {"H20"}),
        ("H100", H100S),
        ("H100 80GB", H100S),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", {"RTX 4090"}),
        ("A100 80GB", {"A100 80GB SXM", "A100 80GB PCIe"}),
        ("H999", set()),
        ("96GB", {"GH200 96GB"}),
        ("", set()),
    ],
)
def test_what_is_offered_for_a_name_that_is_none(name: str, offered: set[str]) -> None:
    assert {gpu.name for gpu in gpus_like(name)} == offered


@pytest.mark.parametrize(
    ("option", "rate"),
    [
        ("bf16=989", 989e12),
        ("bf16=989.4T", 989.4e12),
        ("fp8=1.979P", 1.979e15),
        ("bf16=9.89e14", 9.89e14),
        ("BF16=989TFLOPS", 989e12),
    ],
)
def test_peak_options(option: str, rate: float) -> None:
    assert parse_peaks([option]) == {option.split("=", maxsplit=1)[0].lower(): pytest.approx(rate)}


@pytest.mark.parametrize(
    "option", ["989", "bf17=989", "bf16=fast", "bf16=0", "bf16=-1", "bf16=", "bf16=nan", "bf16=1e30"]
)
def test_a_peak_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(UsageError):
        parse_peaks([option])


def test_bandwidth_options() -> None:
    assert parse_bandwidth("3350") == parse_bandwidth("3.35T") == parse_bandwidth("3.35e12") == pytest.approx(3.35e12)
    with pytest.raises(UsageError):
        parse_bandwidth("fast")


def test_a_program_passes_flops_per_second_or_what_the_command_line_takes() -> None:
    assert checked_peaks({"bf16": 989e12, "FP8": "1.979P", "fp16": "989"}) == {
        "bf16": 989e12,
        "fp8": pytest.approx(1.979e15),
        "fp16": pytest.approx(989e12),
    }
    assert checked_bandwidth(3.35e12) == pytest.approx(checked_bandwidth("3350")) == 3.35e12


@pytest.mark.parametrize("value", [0, -1e12, True, float("nan"), float("inf"), None, [1e12], "fast", 989, 989.4])
def test_a_rate_that_cannot_be_meant_is_refused(value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        checked_peaks({"bf16": value})
    with pytest.raises(UsageError):
        checked_bandwidth(value)


def test_a_peak_in_the_wrong_unit_is_named_with_the_right_number() -> None:
    with pytest.raises(UsageError) as caught:
        checked_peaks({"bf16": 989})
    assert caught.value.hint == "pass 9.89e+14 if 989 is in TFLOP/s"


@pytest.mark.parametrize("dtype", ["bf17", 16, ""])
def test_a_peak_of_no_dtype_is_refused(dtype) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="no dtype"):
        checked_peaks({dtype: 1e12})


def test_an_override_replaces_one_peak_and_says_so() -> None:
    h100 = find_gpu("H100 SXM")
    assert h100 is not None
    changed = with_overrides(h100, "", {"bf16": 800e12}, None)
    assert changed is not None
    assert changed.peaks_flops_per_s["bf16"] == 800e12
    assert changed.peaks_flops_per_s["fp8"] == h100.peaks_flops_per_s["fp8"]
    assert (changed.label, changed.source.startswith("--peak bf16")) == ("override", True)
    assert with_overrides(h100, "", {}, None) is h100


def test_an_override_of_a_derived_gpu_still_says_derived() -> None:
    derived = derive_gpu("X", compute_capability="9.0", sm_count=132, clock_hz=1e9)
    changed = with_overrides(derived, "", {}, 1e12)
    assert changed is not None
    assert changed.source.startswith("--bandwidth; otherwise derived: 132 SMs × 1.000 GHz")


def test_an_unknown_gpu_has_only_what_the_user_says() -> None:
    made = with_overrides(None, "NVIDIA X", {"bf16": 1e12}, None)
    assert made is not None
    assert (dict(made.peaks_flops_per_s), made.bandwidth_bytes_per_s) == ({"bf16": 1e12}, None)
    assert with_overrides(None, "NVIDIA X", {}, None) is None


def test_a_derived_peak_is_labelled_and_shows_its_arithmetic() -> None:
    derived = derive_gpu("NVIDIA H100 80GB HBM3", compute_capability="9.0", sm_count=132, clock_hz=1.98e9)
    assert derived.label == "derived"
    assert derived.peaks_flops_per_s["bf16"] == pytest.approx(1070e12, rel=0.001)
    assert "132 SMs" in derived.source
    assert derived.bandwidth_bytes_per_s is None


@pytest.mark.parametrize(
    ("name", "capability", "sms", "ghz", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "8.0", 108, 1.41, 312),
        ("NVIDIA GeForce RTX 4090", "8.9", 128, 2.52, 165.2),
        ("NVIDIA L4", "8.9", 58, 2.04, 121),
        ("NVIDIA L40", "8.9", 142, 2.49, 181),
        ("NVIDIA A10G", "8.6", 80, 1.71, 70),
        ("Tesla V100-SXM2-16GB", "7.0", 80, 1.53, 125),
    ],
)
def test_derived_peaks_meet_the_datasheet_at_the_datasheets_clock(
    name: str, capability: str, sms: int, ghz: float, tflops: float
) -> None:
    derived = derive_gpu(name, compute_capability=capability, sm_count=sms, clock_hz=ghz * 1e9)
    assert derived.peaks_flops_per_s["fp16"] == pytest.approx(tflops * 1e12, rel=0.02)


def test_older_tensor_cores_have_no_bf16() -> None:
    assert (
        "bf16" not in derive_gpu("Tesla T4", compute_capability="7.5", sm_count=40, clock_hz=1.59e9).peaks_flops_per_s
    )


@pytest.mark.parametrize(("capability", "sms"), [("6.1", 20), ("9", 20), ("9.0", 0)])
def test_what_cannot_be_derived_is_refused(capability: str, sms: int) -> None:
    with pytest.raises(HardwareError):
        derive_gpu("X", compute_capability=capability, sm_count=sms, clock_hz=1e9)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA H20-3e", "9.0"),
        ("NVIDIA L20", "8.9"),
        ("NVIDIA L2", "8.9"),
        ("NVIDIA GeForce RTX 5090 D", "12.0"),
        ("NVIDIA GeForce GTX 1660 Ti", "7.5"),
        ("NVIDIA T1000", "7.5"),
        ("NVIDIA CMP 170HX", "8.0"),
        ("GRID A100-10C", "8.0"),
        ("NVIDIA A100-1-5CME", "8.0"),
    ],
)
def test_parts_that_are_cut_or_virtual_have_no_derived_peak(name: str, capability: str) -> None:
    with pytest.raises(HardwareError, match="is not that of its compute capability"):
        derive_gpu(name, compute_capability=capability, sm_count=40, clock_hz=1e9)


#: In the table with their own rates, which are not those of their compute capability.
CUT = {"H20", "H20-3e", "L20", "L2", "RTX 5090 D", "RTX 5090 D v2"}
WITHOUT_RATE = {"6.0", "6.1", "8.7", "11.0", "12.1", None}


@pytest.mark.parametrize("gpu", [gpu for gpu in all_gpus() if gpu.name not in CUT], ids=lambda gpu: gpu.name)
def test_no_other_gpu_counts_as_cut(gpu) -> None:  # type: ignore[no-untyped-def]
    if gpu.compute_capability not in WITHOUT_RATE:
        derive_gpu(gpu.name, compute_capability=gpu.compute_capability, sm_count=40, clock_hz=1e9)


def test_the_ridge_point() -> None:
    h100 = find_gpu("H100 SXM")
    assert h100 is not None
    assert h100.ridge_flops_per_byte("bf16") == pytest.approx(295.3, abs=0.1)
    assert h100.ridge_flops_per_byte("fp4") is None


def test_an_entry_that_the_table_cannot_have_names_its_card() -> None:
    raw = {"name": "X1", "names": ["x1"], "bandwidth": 1000, "peaks": {"fp33": 1}, "source": "a datasheet", "sms": 10}
    with pytest.raises(HardwareError, match=r"X1 lacks checked, has an unknown fp33, has an unknown sms"):
        entry(raw)


def test_patterns_are_in_lower_case_as_the_names_that_they_match() -> None:
    assert [
        pattern
        for gpu in all_gpus()
        for pattern in gpu.patterns
        if re.sub(r"\\.", "", pattern) != re.sub(r"\\.", "", pattern).lower()
    ] == []
