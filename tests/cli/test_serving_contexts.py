"""Engines in contexts where their numbers need a word: requests that are given up, ids that are no clients', …"""

from __future__ import annotations

from tests.cli.public_reports.test_served_requests import arrive, serve
from tests.cli.run import Cli, run
from tests.support.trace_builder import TraceBuilder


def test_requests_that_their_clients_give_up_are_told(cli: Cli) -> None:
    trace = TraceBuilder().gpu()
    worker = trace.process(100)
    for number, name in enumerate(("a", "b")):
        arrive(worker, 1_000 * number, name)
        serve(worker, 1_000 * number + 20, name, number=number)
    worker.thread().mark(1_300, 'llmperf.request {"id":"b","given_up":true}', domain="llmperf")

    code, out, err = run(cli.capsys, "analyze", cli.write(trace), "--goodput", "ttft:300", "--no-cache")

    assert code == 0, err
    assert "1 of 2 requests were ended by their client, or by the server at a stop string" in out
