#!/usr/bin/env python3
"""A mixed load for an OpenAI-compatible server: clients that send prompts of random tokens.

    scripts/serving_load.py http://127.0.0.1:8000 --model DIR -o load.json [--requests 48] [--clients 12] [--rounds 1]

Some prompts share a prefix, so that a prefix cache has something to do. Every request gets the id `load-N`, those of
the warm-up `warm-N`, and exactly the number of new tokens that it asks for. load.json gets one record for each with
times on this machine's clock (CLOCK_REALTIME, in s), and the sums; they are printed too. Rounds follow each other, with
other prompts in each, and have a rate each. The same seed sends the same requests. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import statistics
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 300


def planned(
    requests: int,
    *,
    prompt: tuple[int, int],
    new: tuple[int, int],
    vocabulary: int,
    seed: int,
    name: str = "load",
    first: int = 0,
) -> list[Any]:
    """(id, prompt tokens, number of new tokens) of every request; a third of them begin with the same tokens."""
    numbers = random.Random(f"{name} {seed}")
    shared = [numbers.randrange(10, vocabulary) for _ in range(prompt[1] // 4)]
    plan = []
    for index in range(requests):
        tokens = [numbers.randrange(10, vocabulary) for _ in range(numbers.randint(*prompt))]
        if index % 3 == 2 and len(tokens) > len(shared):
            tokens[: len(shared)] = shared
        plan.append((f"{name}-{first + index}", tokens, numbers.randint(*new)))
    return plan


def send(url: str, model: str, request: tuple[str, list[int], int]) -> dict[str, Any]:
    """Send one request and read its answer; times are those of the first and the last piece of it."""
    name, tokens, new = request
    body = {
        "model": model, "prompt": tokens, "max_tokens": new, "temperature": 0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    headers = {"Content-Type": "application/json", "X-Request-Id": name}
    call = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    record: dict[str, Any] = {"id": name, "prompt_tokens": len(tokens), "new_tokens": 0, "sent_s": time.time()}
    pieces = []
    with urllib.request.urlopen(call, timeout=TIMEOUT_S) as answer:
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            piece = json.loads(line[6:])
            if piece.get("choices"):
                pieces.append(time.time())
            if usage := piece.get("usage"):
                record["new_tokens"] = usage["completion_tokens"]
    return record | {"first_s": pieces[0], "last_s": pieces[-1]}


def run(url: str, model: str, plan: list[Any], clients: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Send all requests, each client the next one as soon as it has its answer; the records and what went wrong."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for request in plan:
        waiting.put(request)
    records: list[dict[str, Any]] = []
    errors: list[str] = []

    def client() -> None:
        while not errors:
            try:
                request = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                records.append(send(url, model, request))
            except (OSError, ValueError, KeyError, IndexError) as error:
                errors.append(f"{request[0]}: {error!r}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return records, errors


def summary(records: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Sums and medians of what the clients saw."""
    tokens = sum(record["new_tokens"] for record in records)
    ttft = [record["first_s"] - record["sent_s"] for record in records]
    tpot = [
        (record["last_s"] - record["first_s"]) / (record["new_tokens"] - 1)
        for record in records
        if record["new_tokens"] > 1
    ]
    return {
        "requests": len(records),
        "prompt_tokens": sum(record["prompt_tokens"] for record in records),
        "new_tokens": tokens,
        "seconds": round(seconds, 3),
        "new_tokens_per_s": round(tokens / seconds, 2),
        "ttft_ms": round(statistics.median(ttft) * 1e3, 2) if ttft else None,
        "tpot_ms": round(statistics.median(tpot) * 1e3, 3) if tpot else None,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the load; 1 if a request failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--model", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--prompt", type=int, nargs=2, default=(100, 3000), metavar=("FROM", "TO"))
    parser.add_argument("--new", type=int, nargs=2, default=(8, 64), metavar=("FROM", "TO"))
    parser.add_argument("--vocabulary", type=int, default=30000)
    parser.add_argument("--warm-up", type=int, default=0, metavar="N", help="send N other requests first, uncounted")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="send so many requests N times")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sizes = {"prompt": tuple(options.prompt), "new": tuple(options.new), "vocabulary": options.vocabulary}
    if options.warm_up:
        warming = planned(options.warm_up, **sizes, seed=options.seed, name="warm")
        _, errors = run(options.url, options.model, warming, 2)
        if errors:
            sys.stderr.write("\n".join(errors) + "\n")
            return 1
    records: list[dict[str, Any]] = []
    rates: list[float] = []
    seconds = 0.0
    for index in range(options.rounds):
        plan = planned(options.requests, **sizes, seed=options.seed + index, first=index * options.requests)
        started = time.monotonic()
        more, errors = run(options.url, options.model, plan, options.clients)
        took = time.monotonic() - started
        records, seconds = records + more, seconds + took
        rates.append(summary(more, took)["new_tokens_per_s"])
        if errors:
            break
    found = summary(records, seconds) | {"rounds_new_tokens_per_s": rates}
    options.output.write_text(json.dumps(found | {"errors": errors, "records": records}))
    print(json.dumps(found))
    sys.stderr.writelines(f"{error}\n" for error in errors)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
