#!/usr/bin/env python3
"""Compare the functions that llmperf names for a host-bound decode with those that independent samplers name.

    scripts/gpu_host_samples.py capture -o OUT     on a GPU: a trace of a plain `generate`, and its stacks without nsys
    scripts/gpu_host_samples.py table OUT          anywhere: shares of time by function and line, side by side
    scripts/gpu_host_samples.py run [--samples FILE] [--small]     what is sampled

Three runs of one program: `llmperf capture --auto --python`; py-spy, which reads the stacks from another process (left
out if it is not on PATH); and a thread of the program that looks at `sys._current_frames`. The last two run at once.
Compared are two parts of the program: `first`, a request whose lengths are all new, which llmperf leaves out as cold;
and `steady`, requests of the same lengths after it. OUT gets trace.sqlite.xz, log.txt, and the samples as py-spy.txt
and thread.txt: `stack;…;stack count`. Standard library only, but for torch and transformers in `run`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

FILE = Path(__file__).resolve()
ROOT = FILE.parents[1]
LLMPERF = [sys.executable, "-c", "from nsys_pipeline.cli import main; main()"]
ME = [sys.executable, str(FILE)]
PARTS = ("first", "steady")
STEADY_REQUESTS, NEW_TOKENS = 5, 40
TIMEOUT_S = 75
PY_SPY_HZ = 250
SHOWN = 10


class Place(NamedTuple):
    """A line of a function; `file` without what is before the package."""

    function: str
    file: str
    line: int


Shares = dict[Place, float]


def run(samples: Path | None, *, small: bool) -> None:
    """Generate with a Llama of random weights, eager, bf16 on a GPU; `samples`: where a thread writes the stacks."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    if not small:
        sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
    config = LlamaConfig(**sizes, num_hidden_layers=8, vocab_size=32_000, tie_word_embeddings=True)
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    prompt = torch.randint(0, 32_000, (2, 8 if small else 512), device=device)
    requests, new_tokens = (2, 4) if small else (STEADY_REQUESTS, NEW_TOKENS)

    def request() -> None:
        model.generate(prompt, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0)
        if device == "cuda":
            torch.cuda.synchronize()

    def first() -> None:
        request()

    def steady() -> None:
        for _ in range(requests):
            request()

    with sampling(samples):
        for part in (first, steady):
            began = time.perf_counter()
            part()
            print(f"{part.__name__}: {time.perf_counter() - began:.2f} s", flush=True)


@contextmanager
def sampling(output: Path | None) -> Iterator[None]:
    """A thread that looks at the stack of this one a thousand times a second."""
    if output is None:
        yield
        return
    stacks: Counter[str] = Counter()
    done = threading.Event()
    sampled = threading.get_ident()

    def look() -> None:
        while not done.wait(0.001):
            frame = sys._current_frames().get(sampled)
            names = []
            while frame is not None:
                names.append(f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})")
                frame = frame.f_back
            stacks[";".join(reversed(names))] += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        output.write_text("".join(f"{stack} {count}\n" for stack, count in stacks.items()))


def capture(output: Path, *, small: bool) -> int:
    """Make the three runs; returns 1 if one of them failed."""
    output.mkdir(parents=True, exist_ok=True)
    program = [*ME, "run", *(["--small"] if small else [])]
    with tempfile.TemporaryDirectory() as folder, (output / "log.txt").open("w") as log:
        here = Path(folder)
        argv = [*LLMPERF, "capture", "--auto", "--python", "--no-analyze", "-o", str(here / "run"), "--", *program]
        failed = _run([argv], log)
        trace = next(here.glob("run/trace.sqlite"), None)
        alone = [[*program, "--samples", str(output / "thread.txt")]]
        if spy := shutil.which("py-spy"):
            asked = ["--rate", str(PY_SPY_HZ), "--format", "raw", "--full-filenames", "--idle"]
            alone.append([spy, "record", *asked, "-o", str(here / "py-spy.txt"), "--", *program])
        failed |= _run(alone, log)
        if (here / "py-spy.txt").is_file():
            # Imports have more stacks than all the rest.
            lines = (here / "py-spy.txt").read_text(errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if any(f"{part} ({FILE}:" in line for part in PARTS)]
            (output / "py-spy.txt").write_text("".join(kept))
        if trace is None:
            print(f"no trace: see {output / 'log.txt'}", file=sys.stderr)
            return 1
        table(output, trace)
        (output / "trace.sqlite.xz").write_bytes(lzma.compress(trace.read_bytes(), preset=1))
    return int(failed)


def _run(commands: list[list[str]], log: IO[str]) -> bool:
    """Run all at once; whether one failed or, with all that it had started, was stopped for its time."""
    running = [subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT, start_new_session=True) for argv in commands]
    until = time.monotonic() + TIMEOUT_S
    for argv, process in zip(commands, running, strict=True):
        try:
            process.wait(max(0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"stopped after {TIMEOUT_S} s: {' '.join(argv)}", file=sys.stderr)
    return any(process.returncode for process in running)


def read_stacks(path: Path, part: str) -> tuple[Shares, Shares]:
    """Share of the samples inside the function `part` by place: in which it ran, and in which it was on the stack."""
    selves: Counter[Place] = Counter()
    anywhere: Counter[Place] = Counter()
    total = 0
    for line in path.read_text(errors="replace").splitlines():
        stack, _, number = line.rpartition(" ")
        places = [_place(text) for text in stack.split(";") if "(" in text]
        # py-spy begins with the process and the thread; what is inside `part` follows its frame.
        inside = next((i for i, place in enumerate(places) if _is_part(place, part)), None)
        if inside is None or not number.isdigit():
            continue
        total += int(number)
        selves[places[-1]] += int(number)
        for place in set(places[inside + 1 :]):
            anywhere[place] += int(number)
    return _shares(selves, total), _shares(anywhere, total)


def _shares(counts: Mapping[Place, int], total: int) -> Shares:
    return {place: count / total for place, count in counts.items()} if total else {}


def _is_part(place: Place, part: str) -> bool:
    return place.function == part and place.file.endswith(FILE.name)


def _place(text: str) -> Place:
    function, _, where = text.rpartition(" (")
    file, _, line = where.rstrip(")").rpartition(":")
    # py-spy says `Class.method` and `outer.<locals>.inner`, the other two the name alone.
    return Place(function.rpartition(".")[2], _short(file), int(line) if line.isdigit() else 0)


def _short(file: str) -> str:
    for folder in ("site-packages/", "dist-packages/"):
        file = file.rpartition(folder)[2]
    return file


def read_trace(trace: Path, part: str) -> tuple[Shares, Shares]:
    """The same of the trace, as llmperf counts: cold occurrences for `first`, measured time for `steady`."""
    is_wanted = "part = 'cold'" if part == "first" else "part <> 'cold'"
    query = f"SELECT function, file, line, self_samples, samples FROM host_time WHERE {is_wanted}"
    selves: defaultdict[Place, int] = defaultdict(int)
    anywhere: defaultdict[Place, int] = defaultdict(int)
    for row in _ask(trace, query):
        place = Place(row["function"] or "?", _short(row["file"] or "?"), row["line"] or 0)
        selves[place] += row["self_samples"]
        anywhere[place] += row["samples"]
    total = sum(selves.values())
    return _shares(selves, total), _shares(anywhere, total)


def named(trace: Path) -> list[str]:
    """What the findings say, as far as it names functions."""
    query = "SELECT code, phase, message FROM findings WHERE code IN ('host_bound_steps', 'cold_first_occurrence')"
    return [f"{row['code']} {row['phase']}: {row['message']}" for row in _ask(trace, query)]


def _ask(trace: Path, query: str) -> Iterator[dict[str, Any]]:
    argv = [*LLMPERF, "sql", str(trace), query, "--format", "json"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return map(json.loads, said.splitlines())


def table(folder: Path, trace: Path) -> None:
    """Print the shares of the samplers side by side, and how far they are apart."""
    others = {name: folder / f"{name}.txt" for name in ("py-spy", "thread") if (folder / f"{name}.txt").is_file()}
    for line in named(trace):
        print(line)
    for part in PARTS:
        columns = {"llmperf": read_trace(trace, part)} | {
            name: read_stacks(path, part) for name, path in others.items()
        }
        for kind, which in (("self", 0), ("with what it calls", 1)):
            shares = {name: found[which] for name, found in columns.items()}
            print(f"\n{part}, {kind}: share of the samples by line, %")
            print("| function | line | " + " | ".join(shares) + " |")
            print("| :-- | :-- |" + " --: |" * len(shares))
            wanted = shares["llmperf"]
            # Frames that all samples are in say nothing.
            told = [place for place in sorted(wanted, key=lambda one: -wanted[one]) if wanted[place] < 0.99]
            for place in told[:SHOWN]:
                cells = " | ".join(f"{100 * found.get(place, 0):.1f}" for found in shares.values())
                print(f"| `{place.function}` | {place.file}:{place.line} | {cells} |")
        for name, (selves, _) in columns.items():
            if name != "llmperf":
                print(f"\n{part}: {agreement(columns['llmperf'][0], selves, name)}")


def agreement(ours: Shares, theirs: Shares, name: str) -> str:
    """How many of the first five lines are the same, and which share of the time is told alike."""
    best = [{*sorted(shares, key=lambda one: -shares[one])[:5]} for shares in (ours, theirs)]
    alike = sum(min(share, theirs.get(place, 0)) for place, share in ours.items())
    first = [max(shares, key=lambda one: shares[one]) if shares else None for shares in (ours, theirs)]
    return (
        f"{len(best[0] & best[1])} of the first 5 lines are among {name}'s first 5, the first one is "
        f"{'the same' if first[0] == first[1] else 'another'}; {100 * alike:.0f} % of the time is told alike"
    )


def main(arguments: list[str] | None = None) -> int:
    """See the docstring of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    captured = verbs.add_parser("capture")
    captured.add_argument("-o", "--output", type=Path, required=True)
    captured.add_argument("--small", action="store_true", help="a model for machines without a GPU")
    verbs.add_parser("table").add_argument("folder", type=Path)
    sampled = verbs.add_parser("run")
    sampled.add_argument("--samples", type=Path)
    sampled.add_argument("--small", action="store_true")
    options = parser.parse_args(arguments)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if options.verb == "capture":
        return capture(options.output, small=options.small)
    if options.verb == "table":
        table(options.folder, options.folder / "trace.sqlite.xz")
    else:
        run(options.samples, small=options.small)
    return 0


if __name__ == "__main__":
    sys.exit(main())
