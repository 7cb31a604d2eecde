"""An engine that is played at random, with what its client sees counted as it is played: queue, TTFT, preemptions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.support.ask import ask_session, open_session
from tests.support.trace_builder import TraceBuilder

OWN = "llmperf"


@dataclass
class Played:
    """One request, as the engine knows it."""

    name: str
    number: int
    prompt: int
    found: int
    arrived: int
    left: int = field(init=False)
    cached: int | None = None
    written: int = 0
    first_start: int | None = None
    token_ends: list[int] = field(default_factory=list)
    preempted: int = 0
    chunks: int = 0
    steps: int = 0
    is_done: bool = False
    given_up: int | None = None

    def __post_init__(self) -> None:
        self.left = self.prompt


@dataclass
class PlayedStep:
    """What the queue holds as a step starts."""

    start: int
    waiting: int
    waiting_tokens: int


def play(random: Random, trace: TraceBuilder) -> tuple[list[Played], list[PlayedStep]]:
    """Requests and steps of one engine; its GPU is done with each step a while after its range ends."""
    main = trace.process(200).thread()
    at, requests, steps = 0, [], []
    for number in range(9):
        at += random.randrange(1, 900)
        request = Played(f"r{number}", number, random.randrange(2, 40), 0, at)
        request.found = random.choice((0, 0, random.randrange(request.prompt)))
        requests.append(request)
        main.mark(at, f'llmperf.request {{"id":"{request.name}","prompt":{request.prompt}}}', domain=OWN)
    # the last two never have a step
    at, servable = 500, requests[:7]
    for _ in range(60):
        at += random.randrange(20, 120)
        come = [one for one in servable if one.arrived < at and not one.is_done]
        batch = random.sample(come, min(len(come), random.randrange(1, 4)))
        if not batch:
            continue
        for one in batch:
            if one.cached is not None and one.written and random.random() < 0.08:
                one.preempted, one.cached, one.left = one.preempted + 1, 0, one.prompt
        waiting = [one for one in requests if one.arrived <= at and one.first_start is None and one.given_up is None]
        gone = [one for one in requests if one.given_up is not None and one.given_up <= at]
        steps.append(
            PlayedStep(at, len(waiting), sum(one.left for one in requests if one.arrived <= at and one not in gone))
        )
        end = at + random.randrange(20, 60)
        done = end + random.randrange(1, 15)
        new, cached = [], []
        names = {str(one.number): one.name for one in batch if one.first_start is None}
        for one in batch:
            if one.first_start is None:
                one.first_start, one.cached = at, one.found
            assert one.cached is not None
            rest = one.prompt + one.written - one.cached
            take = rest if rest <= 1 else random.randrange(1, rest + 1)
            # a step over the last prompt token, or the newest one, writes the next
            one.chunks += one.cached < one.prompt
            one.steps += 1
            new.append(take)
            cached.append(one.cached)
            one.cached += take
            one.left = max(0, one.prompt - one.cached)
            if one.cached == one.prompt + one.written:
                one.written += 1
                one.token_ends.append(done)
                one.is_done = one.written >= 6
        mark = {"q": new, "kv": cached, "ids": [one.number for one in batch], "new": names, "logits": len(batch)}
        main.push(at, end, "mixed", domain=OWN).mark(at + 1, f"llmperf.step {json.dumps(mark)}", domain=OWN)
        main.launch(at + 2, gpu=(at + 5, done))
        at = done
        if random.random() < 0.1 and (left := [one for one in requests if one.left and one.arrived < at]):
            one = random.choice(left)
            one.given_up, one.is_done = at + 5, True
            main.mark(at + 5, f'llmperf.request {{"id":"{one.name}","given_up":true}}', domain=OWN)
            at += 10
    return requests, steps


@pytest.mark.parametrize("seed", range(5))
def test_queue_and_latencies_are_those_of_the_engine(seed: int, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    requests, steps = play(Random(seed), trace)

    with open_session(trace, tmp_path) as session:
        queue = "SELECT start_ns, waiting_requests, waiting_tokens FROM served_steps ORDER BY start_ns"
        assert ask_session(session, queue).splitlines()[1:] == [
            f"{one.start},{one.waiting},{one.waiting_tokens}" for one in steps
        ]
        found = {
            row["request"]: row for row in csv.DictReader(io.StringIO(ask_session(session, "FROM served_requests")))
        }

    served = [one for one in requests if one.steps]
    assert set(found) == {one.name for one in served}
    for one in served:
        row = found[one.name]
        assert one.first_start is not None
        assert int(row["waiting_ns"]) == one.first_start - one.arrived
        assert int(row["reused_tokens"]) == one.found
        assert (int(row["steps"]), int(row["prefill_steps"])) == (one.steps, one.chunks)
        assert (int(row["preemptions"]), int(row["new_tokens"])) == (one.preempted, one.written)
        ends = one.token_ends
        assert row["ttft_ns"] == (str(ends[0] - one.arrived) if ends else "")
        assert row["tpot_ns"] == (str((ends[-1] - ends[0]) / (len(ends) - 1)) if len(ends) > 1 else "")
