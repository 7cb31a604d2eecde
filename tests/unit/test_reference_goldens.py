"""The goldens are what the reference says today; `just golden-reference` rewrites them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import real_traces
from tests.support.reference import attribute, summarize

# The other traces take the brute force some seconds each; scripts/reference_goldens.py --check has them all.
QUICK = ("h100_cuda_graph_node", "h100_cuda_graph_whole", "h100_gpu_metrics", "h100_train")


def test_every_trace_has_a_golden() -> None:
    goldens = {path.name.removesuffix(".reference.json") for path in real_traces.GOLDEN.glob("*.reference.json")}

    assert real_traces.NAMES
    assert goldens == set(real_traces.NAMES)


@pytest.mark.parametrize("name", QUICK)
def test_reference_still_says_the_same(name: str, tmp_path: Path) -> None:
    path = real_traces.unpack_by_name(name, tmp_path)

    found = {"default": summarize(attribute(path)), "strict": summarize(attribute(path, strict=True))}

    assert found == real_traces.golden(name)


@pytest.mark.parametrize("name", real_traces.NAMES)
@pytest.mark.parametrize("mode", ["default", "strict"])
def test_goldens_are_conserved(name: str, mode: str) -> None:
    summary = real_traces.golden(name)[mode]

    for key, total in summary["totals"].items():
        parts = [part[key] for part in (*summary["phases"].values(), *summary["unattributed"].values())]
        assert sum(parts) == total, key


def test_numbers_known_from_elsewhere() -> None:
    """Counts that were taken from these captures by other means than this reference."""
    node, whole, train = (real_traces.golden(f"h100_{n}") for n in ("cuda_graph_node", "cuda_graph_whole", "train"))

    assert node["strict"]["phases"]["decode"]["kernel_count"] == 13_408  # 32 launches of a graph with 419 kernels
    assert whole["strict"]["phases"]["decode"]["graph_launch_count"] == 32
    assert train["default"]["totals"]["kernel_count"] == 2_396
    assert train["strict"]["phases"]["backward"]["kernel_count"] < 10  # autograd's thread launches the rest
