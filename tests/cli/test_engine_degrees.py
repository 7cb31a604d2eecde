"""Engines of several models in one trace: each has the parallel degree of its own run."""

from __future__ import annotations

import pytest

from tests.cli.public_reports.common import LLAMA, PROMPT, TOKEN, engine
from tests.cli.run import Cli
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize("prompts_at", [0, 2])
def test_the_engine_of_the_model_that_is_given_says_its_degree(prompts_at: int, cli: Cli) -> None:
    """Whichever of the two begins first, the tokens are computed by two ranks."""
    small = LLAMA | {"num_hidden_layers": 2}
    trace = TraceBuilder().gpu(0).gpu(1).gpu(2)
    engine(trace, 100, "prefill", PROMPT, device=0, at=prompts_at, model=LLAMA, tp=1)
    for rank in range(2):
        engine(trace, 200 + rank, "decode", TOKEN, device=1 + rank, at=1, model=small, tp=2)

    rows, _ = cli.sql(trace, "SELECT DISTINCT phase, flops FROM phases ORDER BY phase", "--model", cli.config(small))

    assert rows == [{"phase": "decode", "flops": 48_152_576}, {"phase": "prefill", "flops": None}]
