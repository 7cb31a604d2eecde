"""ncu's CSV as it comes: cut anywhere, from several ranks, between other output, in any locale and unit."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from nsys_pipeline.errors import TraceError
from nsys_pipeline.ncu import KernelCounters, read_csv
from nsys_pipeline.ncu.command import DRAM_READ, DRAM_WRITE, FADD, FFMA, FMUL, METRICS, TENSOR_FLOPS, TIME
from nsys_pipeline.ncu.numbers import decimal_mark, number, unit_factor

# C++ puts commas, quotes and parentheses into names.
NAMES = (
    'void ns::gemm<float, (int)4, "x">(const T1 *, int)', "copy(int)",
    "void at::native::elementwise_kernel<(int)128, at::f(int)::{lambda(int)#1}>(int, T1)", "nvjet_sm90_tst_64x8",
)  # fmt: skip
SHORT = ("gemm", "copy", "elementwise_kernel", "nvjet_sm90_tst_64x8")
UNITS = {TENSOR_FLOPS: "", FADD: "inst", FMUL: "inst", FFMA: "inst", DRAM_READ: "byte", DRAM_WRITE: "byte", TIME: "ns"}


def values(index: int) -> dict[str, int]:
    """Counters of one launch: numbers of one to ten digits."""
    source = random.Random(index)
    return {metric: source.randrange(10 ** source.randrange(1, 11)) for metric in METRICS}


def expected(index: int) -> tuple[str, int, int, int, int]:
    """By hand: an FMA is two operations."""
    of = values(index)
    other = of[FADD] + of[FMUL] + 2 * of[FFMA]
    return (SHORT[index % 4], of[TIME], of[TENSOR_FLOPS] + other, of[DRAM_READ], of[DRAM_WRITE])


def told(kernels: tuple[KernelCounters, ...]) -> list[tuple[object, ...]]:
    return [(k.name, k.time_ns, k.flops, k.dram_read_bytes, k.dram_write_bytes) for k in kernels]


def line(*cells: object) -> str:
    return ",".join('"' + str(cell).replace('"', '""') + '"' for cell in cells) + "\n"


def raw(count: int, first: int = 0, process: int = 7, device: int = 0) -> str:
    """The raw page of `count` launches."""
    head = line("ID", "Process ID", "Kernel Name", "Device", *METRICS)
    units = line("", "", "", "", *(UNITS[metric] for metric in METRICS))
    rows = (
        line(index, process, NAMES[index % 4], device, *(f"{value:,}" for value in values(index).values()))
        for index in range(first, first + count)
    )
    return head + units + "".join(rows)


def details(count: int, process: int = 7) -> str:
    """The details page: metrics, and a rule whose text has a line break."""
    rows = [
        line(
            "ID",
            "Process ID",
            "Kernel Name",
            "Section Name",
            "Metric Name",
            "Metric Unit",
            "Metric Value",
            "Rule Description",
        )
    ]
    for index in range(count):
        head = (index, process, NAMES[index % 4])
        rows += [
            line(*head, "Command line profiler metrics", m, UNITS[m], f"{v:,}", "") for m, v in values(index).items()
        ]
        rows.append(line(*head, "Occupancy", "", "", "", "limited by registers,\nand 3, too"))
    return "".join(rows)


@pytest.mark.parametrize("page", [raw, details])
def test_both_pages_have_the_same_numbers(page: Callable[..., str]) -> None:
    profile = read_csv("==PROF== Connected to process 7\n" + page(9) + "==PROF== Disconnected\n")

    assert told(profile.kernels) == [expected(index) for index in range(9)]
    assert profile.problems == ()
    assert [kernel.launch for kernel in profile.kernels] == [1, 1, 1, 1, 2, 2, 2, 2, 3]


@pytest.mark.parametrize("page", [raw, details])
def test_wherever_a_file_is_cut_every_number_that_is_read_is_whole(page: Callable[..., str]) -> None:
    text, one = page(3), len(page(1))
    whole = [expected(index) for index in range(3)]
    breaks = [end for end, letter in enumerate(text) if letter == "\n"]

    for end in range(len(text)):
        try:
            profile = read_csv(text[:end])
        except TraceError:
            assert end < one, "the first kernel is whole"
            continue
        read = told(profile.kernels)
        assert len(read) >= (end >= one), end
        for got, right in zip(read, whole, strict=False):
            assert all(value in (None, of) for value, of in zip(got, right, strict=True)), end
        # What ends within a row is told; at the end of a row of the raw page, nobody can know.
        if end not in breaks and end - 1 not in breaks and len(read) < 3:
            assert profile.problems, end
        assert None not in read[0] or end < one


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_damaged_row_in_the_middle_costs_that_row_alone(share: float) -> None:
    lines = raw(9).splitlines()
    lines[6] = lines[6][: int(len(lines[6]) * share)]  # the fifth launch: the second one of gemm

    profile = read_csv("\n".join(lines))

    assert told(profile.kernels) == [expected(index) for index in range(9) if index != 4]
    numbers = [kernel.launch for kernel in profile.kernels if kernel.name == "gemm"]
    # Without its name nobody knows which launches come after it.
    if share < 0.5:
        assert (numbers, profile.problems) == ([1, None], ("line 7 is damaged or cut short: its kernel is left out",))
    else:
        assert numbers == [1, 3]
        assert profile.problems == ("line 7 is damaged or cut short: this launch of `gemm` is left out",)


@pytest.mark.parametrize("page", [raw, details])
def test_tables_of_several_ranks_after_one_another_and_output_between_rows(page: Callable[..., str]) -> None:
    first, second = page(5), page(4, process=8)
    lines = first.splitlines(keepends=True)
    lines.insert(4, "step 3, loss 1.5\n==WARNING== Backing up device memory in system memory.\n")

    profile = read_csv("".join(lines) + "==PROF== Connected to process 8\n" + second)

    assert told(profile.kernels) == [expected(index) for index in (*range(5), *range(4))]
    assert [kernel.launch for kernel in profile.kernels] == [1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert len({kernel.process for kernel in profile.kernels}) == 2
    assert profile.problems == ()


def test_ranks_that_are_mixed_in_one_table_are_told_apart() -> None:
    by_rank = [raw(4, process=process, device=device).splitlines() for process, device in ((7, 0), (8, 1))]
    mixed = by_rank[0][:2] + [row for pair in zip(by_rank[0][2:], by_rank[1][2:], strict=True) for row in pair]

    profile = read_csv("\n".join(mixed))

    assert [(kernel.process, kernel.device, kernel.launch) for kernel in profile.kernels] == [
        ("7", 0, 1),
        ("8", 1, 1),
    ] * 4
    kernels, others = profile.of_device(1)
    assert (told(kernels), others) == ([expected(index) for index in range(4)], 4)
    assert profile.of_device(5) == (profile.kernels, 0)


@pytest.mark.parametrize(
    ("group", "mark"),
    [(",", "."), (".", ","), ("\u00a0", ","), ("\u202f", ","), ("'", "."), ("\u2019", "."), (" ", ","), ("", ".")],
)
def test_thousands_separators_of_any_locale(group: str, mark: str) -> None:
    text = raw(9)
    for index in range(9):
        for value in values(index).values():
            text = text.replace(f'"{value:,}"', f'"{value:,}"'.replace(",", group))
    # Scaled numbers have a fraction.
    text = text.replace('"byte","byte","ns"', '"byte","byte","us"') if mark == "," else text
    factor = 1000 if mark == "," else 1

    kernels = read_csv(text).kernels

    assert [kernel.time_ns for kernel in kernels] == [values(index)[TIME] * factor for index in range(9)]
    assert [kernel.dram_read_bytes for kernel in kernels] == [values(index)[DRAM_READ] for index in range(9)]


def test_a_spreadsheet_may_have_written_it_anew() -> None:
    text = raw(4).replace("\n", "\r\n").replace('","', '";"')
    unquoted = "ID,Kernel Name,gpu__time_duration.sum\n,,us\n0,copy(int),1.5,,\n1,copy(int),2,,\n"

    assert told(read_csv("\ufeff" + text).kernels) == [expected(index) for index in range(4)]
    assert [kernel.time_ns for kernel in read_csv(unquoted).kernels] == [1500, 2000]


def test_a_unit_that_is_not_known_is_told() -> None:
    profile = read_csv(
        line("ID", "Kernel Name", TIME, DRAM_READ) + line("", "", "ns", "byte/second") + line(0, "a", 1, 2)
    )

    assert profile.problems == ("the unit `byte/second` of dram__bytes_read.sum is not known: its values are left out",)
    assert (profile.kernels[0].time_ns, profile.kernels[0].dram_read_bytes) == (1, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no table of kernels"),
        ("a,b\n1,2\n", "no table of kernels"),
        ('"ID","Name"\n"0","x"\n', "no column `Kernel Name`"),
        (raw(0), "has no kernels"),
        (line("ID", "Kernel Name", "sm__cycles.avg") + line("", "", "") + line(0, "a", 7), "none of the counters"),
        (raw(1)[:-5], "no kernel of it is whole: line 3 is damaged"),
    ],
)
def test_what_is_no_profile_is_an_error(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        read_csv(text)


def test_without_its_units_no_number_is_read() -> None:
    text = raw(2)
    start = text.index("\n") + 1

    with pytest.raises(TraceError, match="line of units"):
        read_csv(text[:start] + text[start : start + 12] + "\n" + text[text.index("\n", start) + 1 :])


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("byte", 1), ("Kbyte", 1e3), ("KByte", 1e3), ("Mbyte", 1e6), ("Gbyte", 1e9), ("KiB", 1024), ("nsecond", 1),
        ("ns", 1), ("usecond", 1e3), ("us", 1e3), ("msecond", 1e6), ("ms", 1e6), ("second", 1e9), ("s", 1e9),
        ("inst", 1), ("", 1), ("Minst", 1e6), ("byte/second", None), ("%", None), ("cycle", None),
    ],
)  # fmt: skip
def test_units(unit: str, factor: float | None) -> None:
    assert unit_factor(unit) == factor


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1,500", ".", 1500), ("1.500", ",", 1500), ("1.5", ".", 1.5), ("1,5", ",", 1.5), ("1 500,25", ",", 1500.25),
        ("12,34,567", ".", 1234567), ("1.5e+06", ".", 1.5e6), ("7 (3; 4)", ".", 7), ("0", ".", 0), ("n/a", ".", None),
        ("nan", ".", None), ("inf", ".", None), ("", ".", None), ("1e999", ".", None), ("-", ".", None),
        ("3; 4", ".", None),
    ],
)  # fmt: skip
def test_numbers(text: str, mark: str, value: float | None) -> None:
    assert number(text, mark) == value


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["1,500", "2"], "."), (["1.500", "1.500.000"], ","), (["1.500", "3,25"], ","), (["1.234,5"], ","),
        (["1,234.5"], "."), (["1,500", "0,125"], ","), (["12345.678"], "."), ([], "."), (["1,500", "1,500,000"], "."),
    ],
)  # fmt: skip
def test_the_decimal_mark_is_that_of_the_whole_file(texts: list[str], mark: str) -> None:
    assert decimal_mark(texts) == mark
