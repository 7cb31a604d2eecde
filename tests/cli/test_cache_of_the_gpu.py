"""What a trace of torch.profiler does not say of the L2 cache."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import LLAMA
from tests.cli.run import Cli
from tests.support.kineto import KinetoTrace, gpu


@pytest.mark.parametrize(
    ("name", "cache_mb"),
    [("NVIDIA H100 80GB HBM3", 52), ("NVIDIA GeForce RTX 4090", 75), ("NVIDIA A10", None), ("NVIDIA Foo 9000", None)],
)
def test_weights_that_stay_in_a_cache_of_known_size_are_told(name: str, cache_mb: int | None, cli: Cli) -> None:
    """A step of 19 MB; an A10 has 6 MiB of L2 cache, an H100 50 and an RTX 4090 72."""
    trace = KinetoTrace(deviceProperties=[gpu(name=name)])
    for at in range(0, 3_000_000, 500_000):
        trace.annotation("decode", at, at + 360_000)
        trace.launch(at + 10_000, gpu=(at + 20_000, at + 350_000), name="gemm")

    report = cli.analyze(trace, "--model", cli.config(LLAMA), "--shape", "1x100")

    told = [one["message"] for one in report["findings"] if one["code"] == "weights_in_cache"]
    assert [f"L2 cache of its GPU holds {cache_mb} MB" in one for one in told] == [True] * (cache_mb is not None)
