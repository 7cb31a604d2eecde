"""The real vLLM on the CPU: what is marked against what was asked, counted by hand, to the token and to the FLOP.

It needs an environment of its own, with Python at LLMPERF_TEST_VLLM: scripts/install_vllm_cpu.sh DIR makes one.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline import markers
from nsys_pipeline.nsys import Nsys
from tests.e2e.run_llmperf import PROGRAMS, ROOT, free_port, llmperf

pytestmark = pytest.mark.e2e

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, HEAD, VOCAB = 2, 64, 128, 4, 2, 32, 320
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD,
    "vocab_size": VOCAB, "max_position_embeddings": 512, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# A minute on a machine that does nothing else.
TIMEOUT_S = 900
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def vllm_python() -> Path:
    python = Path(os.environ.get("LLMPERF_TEST_VLLM", "/nonexistent"))
    if not python.is_file():
        pytest.skip("vLLM is not installed: LLMPERF_TEST_VLLM names no Python (scripts/install_vllm_cpu.sh makes one)")
    return python


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed (pip install '.[workload]')")
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(QWEN3))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


@attrs.frozen
class Chunk:
    """What one step computed of one request."""

    q: int
    kv: int
    drafts: int
    phase: str


@attrs.frozen
class Marks:
    """What the marks of a trace say, read with sqlite3 alone: each request's steps in order, by its name."""

    requests: dict[str, list[Chunk]]
    steps: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    arrivals: dict[str, dict[str, Any]]
    texts: set[str]

    @classmethod
    def of(cls, trace: Path) -> Marks:
        with sqlite3.connect(f"file:{trace}?mode=ro", uri=True) as connection:
            rows = connection.execute(
                "SELECT n.start, n.eventType, coalesce(n.text, s.value), n.globalTid, n.end FROM NVTX_EVENTS AS n "
                "LEFT JOIN StringIds AS s ON s.id = n.textId WHERE n.eventType IN (34, 59) ORDER BY n.start"
            ).fetchall()
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        requests: dict[str, list[Chunk]] = defaultdict(list)
        names: dict[int, str] = {}
        warmups = [(start, end) for start, kind, text, _, end in rows if kind == 59 and text == "warmup"]
        for start, kind, text, thread, _ in rows:
            if kind != 34 or not text.startswith("llmperf."):
                continue
            name, payload = text.split(" ", 1)
            mark = json.loads(payload)
            if any(begin <= start <= end for begin, end in warmups) and name == markers.STEP_MARK:
                continue
            found[name].append(mark)
            if name == markers.STEP_MARK:
                names |= {int(number): told for number, told in mark.get("new", {}).items()}
                phase = max(row for row in rows if row[1] == 59 and row[3] == thread and row[0] <= start)[2]
                step = markers.decode_step(payload)
                drafts = mark.get("drafts", [0] * step.batch)
                for number, q, kv, guesses in zip(mark["ids"], step.q_tokens, step.kv_tokens, drafts, strict=True):
                    requests[names[number]].append(Chunk(q, kv, guesses, phase))
        arrivals = {mark["id"]: mark for mark in found[markers.REQUEST_MARK]}
        texts = {text for _, kind, text, _, _ in rows if kind == 59}
        return cls(dict(requests), found[markers.STEP_MARK], found[markers.RUN_MARK], arrivals, texts)


def flops_of(positions: list[range], heads: int) -> int:
    """By hand: every position that was computed, over itself and all before it, and the LM head `heads` times."""
    pairs = sum(position + 1 for each in positions for position in each)
    return products_of(positions, heads) + LAYERS * 4 * HEADS * HEAD * pairs


def products_of(positions: list[range], heads: int) -> int:
    """The same without attention."""
    projections = WIDTH * HEAD * (HEADS + 2 * KV_HEADS) + HEADS * HEAD * WIDTH
    layer = 2 * sum(map(len, positions)) * (projections + 3 * WIDTH * INNER)
    return LAYERS * layer + 2 * heads * VOCAB * WIDTH


def report(run: Path, tmp_path: Path) -> dict[str, Any]:
    # the engine's first steps may be slow enough to be left out, on some runs and not on others
    done = llmperf("analyze", run, "--keep-cold", "--format", "json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    return dict(json.loads(done.stdout))


def totals(found: dict[str, Any]) -> tuple[int, int]:
    """Tokens and FLOPs of all phases that have a shape."""
    phases = [phase for phase in found["phases"] if phase["tokens"] is not None]
    return sum(phase["tokens"] for phase in phases), sum(phase["flops"] for phase in phases)


def products(found: dict[str, Any]) -> int:
    """FLOPs of the products of the same phases."""
    return sum(phase["product_flops"] for phase in found["phases"] if phase["tokens"] is not None)


def test_every_step_of_the_llm_class(nsys: Nsys, vllm_python: Path, model: Path, tmp_path: Path) -> None:
    program = PROGRAMS / "engines" / "vllm_llm.py"
    command = ("--", vllm_python, program, model)
    recipe = ("--no-analyze", "--profile", "vllm", "-o", "run")
    done = llmperf("capture", *recipe, *command, cwd=tmp_path, timeout_s=TIMEOUT_S, **ENVIRONMENT)
    assert done.code == 0, done.stderr
    assert "llmperf: vLLM" not in (tmp_path / "run" / "workload.log").read_text()
    marks = Marks.of(tmp_path / "run" / "trace.sqlite")
    long, cached, short, chunked = marks.requests.values()

    # 150 tokens in steps of 64, and four new ones, the first of which the prompt makes
    assert [(each.q, each.kv, each.phase) for each in long] == [
        (64, 0, "prefill"), (64, 64, "prefill"), (22, 128, "prefill"),
        (1, 150, "decode"), (1, 151, "decode"), (1, 152, "decode"),
    ]  # fmt: skip
    # four blocks of 32 tokens come from the prefix cache
    assert [(each.q, each.kv) for each in cached] == [(22, 128), (1, 150), (1, 151)]
    assert [(each.q, each.kv) for each in short] == [(20, 0), (1, 20), (1, 21), (1, 22), (1, 23)]
    assert [each.kv for each in chunked[:1]] == [0]
    assert [each.q for each in chunked[2:]] == [1, 1, 1, 1]
    assert [before.kv + before.q for before in chunked[:-1]] == [after.kv for after in chunked[1:]]
    assert chunked[0].q + chunked[1].q == 100
    # while it takes its second step, the short one generates
    assert chunked[1].phase == "mixed"
    assert [marks.arrivals[name]["prompt"] for name in marks.requests] == [150, 150, 20, 100]

    (run,) = {json.dumps(run["model"], sort_keys=True) for run in marks.runs}
    told = json.loads(run)
    assert {key: told[key] for key in ("hidden_size", "num_hidden_layers", "head_dim")} == {
        "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "head_dim": HEAD,
    }  # fmt: skip
    assert (marks.runs[0]["dtype"], marks.runs[0]["max_context"], marks.runs[0]["tp"]) == ("bfloat16", 256, 1)

    computed = [range(153), range(128, 152), range(24), range(104)]
    steps = [len(each) for each in (long, cached, short, chunked)]
    assert steps == [6, 3, 5, 6]
    expected = (sum(map(len, computed)), flops_of(computed, sum(steps)))
    found = report(tmp_path / "run", tmp_path)
    assert totals(found) == expected
    assert products(found) == products_of(computed, sum(steps))
    served = found["served"]
    # 20 steps, of which three are chunks of a prompt before its last
    assert {name: served[name] for name in ("requests", "prompt_tokens", "reused_tokens", "prefill_steps")} == {
        "requests": 4, "prompt_tokens": 420, "reused_tokens": 128, "prefill_steps": 7,
    }  # fmt: skip
    assert (served["new_tokens"], served["load_ns"]) == (4 + 3 + 5 + 5, None)


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_server_that_guesses(nsys: Nsys, vllm_python: Path, model: Path, tmp_path: Path, port: int) -> None:
    """`vllm serve` with n-gram speculation: what it is asked, guesses included, and what its clients saw."""
    url = f"http://127.0.0.1:{port}"
    load = [
        sys.executable, ROOT / "scripts" / "serving_load.py", url, "--model", model, "-o", tmp_path / "load.json",
        "--requests", "6", "--clients", "3", "--prompt", "20", "90", "--new", "4", "24", "--vocabulary", "300",
    ]  # fmt: skip
    speculation = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2, "prompt_lookup_min": 1}
    server = (
        vllm_python, "-m", "vllm.entrypoints.cli.main", "serve", model, "--port", port, "--load-format", "dummy",
        "--dtype", "bfloat16", "--enforce-eager", "--max-model-len", 256, "--max-num-seqs", 4, "--block-size", 32,
        "--max-num-batched-tokens", 64, "--speculative-config", json.dumps(speculation),
    )  # fmt: skip
    recipe = ("--profile", "vllm-serve", "--capture-range", "none", "--url", url)
    done = llmperf(
        "capture", "--no-analyze", *recipe, "--load", shlex.join(map(str, load)), "-o", "run", "--", *map(str, server),
        cwd=tmp_path, timeout_s=TIMEOUT_S, **ENVIRONMENT,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    asked = {record["id"]: record for record in json.loads((tmp_path / "load.json").read_text())["records"]}
    marks = Marks.of(tmp_path / "run" / "trace.sqlite")
    # vLLM puts a word before our ids, and more behind them
    requests = {next(own for own in asked if f"-{own}-" in name): each for name, each in marks.requests.items()}
    assert requests.keys() == asked.keys()
    computed, heads = [], 0
    for name, chunks in requests.items():
        prompt, new = asked[name]["prompt_tokens"], asked[name]["new_tokens"]
        assert sum(each.q for each in chunks if each.kv < prompt) == prompt - chunks[0].kv
        for before, after in itertools.pairwise(chunks):
            # all that was computed is in the cache but the guesses that were wrong
            assert before.kv + before.q - before.drafts <= after.kv <= before.kv + before.q
        # of the last new tokens the very last was not computed again
        assert chunks[-1].kv + 1 <= prompt + new - 1 + chunks[-1].drafts
        assert chunks[-1].kv + chunks[-1].q >= prompt + new - 1
        computed += [range(each.kv, each.kv + each.q) for each in chunks]
        heads += sum(1 + each.drafts for each in chunks)
    assert {each.phase for chunks in requests.values() for each in chunks if each.drafts} <= {"verify", "mixed"}
    assert any(each.drafts for chunks in requests.values() for each in chunks), "nothing was guessed"
    expected = (sum(map(len, computed)), flops_of(computed, heads))
    found = report(tmp_path / "run", tmp_path)
    assert totals(found) == expected
    assert products(found) == products_of(computed, heads)
    assert {phase["name"] for phase in found["phases"]} >= {"prefill", "verify", "draft"}
    served = found["served"]
    assert (served["requests"], served["prompt_tokens"], served["reused_tokens"], served["draft_tokens"]) == (
        len(asked),
        sum(record["prompt_tokens"] for record in asked.values()),
        sum(chunks[0].kv for chunks in requests.values()),
        sum(each.drafts for chunks in requests.values() for each in chunks),
    )
    # The load is there before its first request, and after its last token.
    assert 0 < served["span_ns"] < served["load_ns"]
