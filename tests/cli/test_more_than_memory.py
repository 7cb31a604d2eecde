"""Which pass of a phase is said to need more memory than its GPUs have."""

from __future__ import annotations

from tests.cli.public_reports.common import CACHE_KERNEL, LARGE, marked
from tests.cli.run import MS, Cli
from tests.support.trace_builder import TraceBuilder


def test_a_pass_that_fits_two_gpus_is_not_named_for_one_that_does_not_fit_its_own(cli: Cli) -> None:
    """The second pass reads the most, 108 GB, and has 170 GB of memory; the others have 94 GB to read, and 85 GB."""
    trace = TraceBuilder().gpu().gpu(1)
    marked(trace, LARGE)
    main = trace.process().thread()
    for number, (cached, devices) in enumerate(((600_000, 1), (700_000, 2), (600_000, 1), (600_000, 1))):
        at = 100 * MS * number
        main.push(at, at + 100 * MS, "decode", domain="llmperf")
        main.mark(at + 1, f'llmperf.step {{"b":1,"q":1,"kv":{cached},"logits":1}}', domain="llmperf")
        for device in range(devices):
            main.launch(at + MS + device, gpu=(at + 2 * MS, at + 98 * MS), name=CACHE_KERNEL, device=device)

    _, told = cli.sql(trace, "SELECT bytes FROM phase_summary")

    assert "a pass of decode would read 94 GB of weights and KV cache, and the memory of its GPUs holds 85 GB" in told
