"""What engines' ranges say about their requests, against every batch that it may be."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from nsys_pipeline.inputs.shapes import _label
from nsys_pipeline.model import Conventions, Model
from nsys_pipeline.model.estimator import Estimator, Totals
from nsys_pipeline.records import LengthSums, Step
from nsys_pipeline.rules.phases import WEAK, RangeRole, classify
from nsys_pipeline.rules.stated import StatedStep

LONGEST = 5
DENSE = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 16, "tie_word_embeddings": True,
}  # fmt: skip
WINDOWED = DENSE | {"model_type": "mistral", "sliding_window": 3}
LATENT = {
    "model_type": "deepseek_v2", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 16, "kv_lora_rank": 4, "q_lora_rank": None,
    "qk_nope_head_dim": 3, "qk_rope_head_dim": 2, "v_head_dim": 3, "first_k_dense_replace": 1, "n_routed_experts": 2,
    "moe_intermediate_size": 4, "n_shared_experts": 1, "num_experts_per_tok": 1, "tie_word_embeddings": True,
}  # fmt: skip


def role_of(text: str) -> RangeRole:
    role = classify("", text)
    assert role is not None
    return role


def stated(text: str) -> StatedStep:
    found = role_of(text).stated
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "phase", "new_tokens"),
    [
        ("execute_context_2(3100)_generation_6(6)", "mixed", 3106),
        ("execute_context_1(700)_generation_0(0)", "prefill", 700),
        ("execute_context_0(0)_generation_8(24)", "decode", 24),
        ("execute_10_context_1(sq8sk9sqsq64sqsk72)_generation_2(sq2sk40sqsq2sqsk40)", "mixed", 10),
        ("[Executor] _forward_step 7: 1 ctx reqs, 2048 ctx tokens, 0 gen reqs", "prefill", 2048),
        # what generating requests compute is not said: one token at least
        ("[Executor] _forward_step 7: 1 ctx reqs, 2048 ctx tokens, 8 gen reqs", "mixed", None),
        ("[Executor] _forward_step: 0 ctx reqs, 10 gen reqs", "decode", None),
        ("[Executor] _forward_step: 2 ctx reqs, 10 gen reqs", "mixed", None),
        ("step[DECODE bs=32]", "decode", 32),
        ("step[EXTEND bs=4 toks=2048]", "prefill", 2048),
        ("step[MIXED bs=4]", "mixed", None),
        ("step[TARGET_VERIFY bs=4]", "verify", None),
        ("scheduler.run_batch", "step", None),
        ("cuda_graph_runner.replay", "decode", None),
        # fewer tokens than requests, and numbers without end, are no tokens
        ("execute_context_9(3)_generation_0(0)", "prefill", None),
        ("execute_context_1(99999999999999999999)_generation_0(0)", "prefill", None),
    ],
)
def test_phases_and_tokens(text: str, phase: str, new_tokens: int | None) -> None:
    role = role_of(text)
    assert (role.phase, role.new_tokens) == (phase, new_tokens)
    assert role.strength <= WEAK


@pytest.mark.parametrize(
    "text",
    [
        "execute_context_0(0)_generation_0(0)",
        "step[IDLE bs=0]",
        "gpu_model_runner: forward",
        "schedule: allocate_slots",
    ],
)
def test_what_is_no_step(text: str) -> None:
    assert classify("", text) is None


def sequences(*, least_cached: int) -> list[tuple[int, int]]:
    """Every sequence that fits an engine of `LONGEST` tokens, as new and cached tokens."""
    return [(q, kv) for q in range(1, LONGEST + 1) for kv in range(least_cached, LONGEST - q + 1)]


def batches(count: int, tokens: int, *, least_cached: int) -> Iterator[tuple[tuple[int, int], ...]]:
    for batch in itertools.combinations_with_replacement(sequences(least_cached=least_cached), count):
        if sum(q for q, _ in batch) == tokens:
            yield batch


def lengths(batch: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """New and cached tokens of each sequence."""
    return tuple(q for q, _ in batch), tuple(kv for _, kv in batch)


def cost(model: Model, step: Step, conventions: Conventions | None = None) -> Totals:
    (totals,) = Estimator(model, conventions).totals([step])
    return totals


@pytest.mark.parametrize("config", [DENSE, WINDOWED, LATENT])
@pytest.mark.parametrize(
    ("context", "generation"), [((2, 5), (0, 0)), ((1, 3), (2, 2)), ((0, 0), (3, 3)), ((0, 0), (2, 4))]
)
def test_bounds_are_those_of_all_batches(
    config: dict[str, object], context: tuple[int, int], generation: tuple[int, int]
) -> None:
    """No batch that the text may mean is outside the bounds, and one is on each."""
    model = Model.from_config(config)
    text = f"execute_context_{context[0]}({context[1]})_generation_{generation[0]}({generation[1]})"
    step = stated(text).step(LONGEST)
    logits = context[0] + generation[1]
    possible = [
        cost(model, Step(*lengths([*prompts, *running]), logits))
        for prompts in batches(*context, least_cached=0)
        for running in batches(*generation, least_cached=1)
    ]
    assert step.upper is not None
    least, most = cost(model, step), cost(model, step.upper)
    assert (least.flops, most.flops) == (min(each.flops for each in possible), max(each.flops for each in possible))
    assert least.bytes <= min(each.bytes for each in possible)
    assert most.bytes >= max(each.bytes for each in possible)
    assert {each.weight_bytes for each in possible} == {least.weight_bytes} == {most.weight_bytes}


def text_with_sums(prompts: list[tuple[int, int]], running: list[tuple[int, int]]) -> str:
    """As vLLM writes it: k counts the new tokens too."""
    parts = []
    for batch in (prompts, running):
        q, k = [q for q, _ in batch], [q + kv for q, kv in batch]
        squares, products = sum(a * a for a in q), sum(a * b for a, b in zip(q, k, strict=True))
        parts.append(f"{len(batch)}(sq{sum(q)}sk{sum(k)}sqsq{squares}sqsk{products})")
    total = sum(q for q, _ in prompts + running)
    return f"execute_{total}_context_{parts[0]}_generation_{parts[1]}"


@pytest.mark.parametrize("attention", ["exact", "half", "full"])
def test_sums_are_exact_for_full_causal_attention(attention: str) -> None:
    model, numbers = Model.from_config(DENSE), random.Random(3)
    for _ in range(60):
        prompts = [(numbers.randint(1, 90), numbers.randint(0, 200)) for _ in range(numbers.randint(0, 5))]
        running = [(numbers.choice([1, 1, 4]), numbers.randint(1, 300)) for _ in range(numbers.randint(1, 6))]
        true = Step(*lengths([*prompts, *running]), len(prompts) + sum(q for q, _ in running))
        step = stated(text_with_sums(prompts, running)).step()
        conventions = Conventions(attention=attention)
        expected = cost(model, true, conventions)
        assert cost(model, step, conventions) == expected
        assert not step.is_unlimited
        if step.upper is not None:
            assert cost(model, step.upper, conventions) == expected


@pytest.mark.parametrize("config", [WINDOWED, LATENT])
def test_sums_bound_what_depends_on_single_lengths(config: dict[str, object]) -> None:
    model, numbers = Model.from_config(config), random.Random(5)
    for _ in range(60):
        prompts = [(numbers.randint(1, 9), numbers.randint(0, 9)) for _ in range(numbers.randint(0, 3))]
        running = [(1, numbers.randint(1, 9)) for _ in range(numbers.randint(1, 4))]
        true = cost(model, Step(*lengths([*prompts, *running]), len(prompts) + len(running)))
        step = stated(text_with_sums(prompts, running)).step()
        assert cost(model, step).flops <= true.flops <= cost(model, step.upper or step).flops


def test_one_prompt_and_single_tokens_are_known_to_the_token() -> None:
    step = stated(text_with_sums([(7, 20)], [])).step()
    assert (step.q_tokens, step.kv_tokens, step.is_exact) == ((7,), (20,), True)


def test_sums_that_cannot_be_are_not_believed() -> None:
    # eight tokens in one request have 64 as the sum of squares
    impossible = stated("execute_8_context_1(sq8sk9sqsq65sqsk72)_generation_0(sq0sk0sqsq0sqsk0)")
    assert impossible.requests[0].sums is None
    assert stated("execute_8_context_1(sq8sk9sqsq64sqsk72)_generation_0(sq0sk0sqsq0sqsk0)").requests[0].sums == (
        LengthSums(cached=1, squares=64, products=8)
    )


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("execute_context_1(100)_generation_8(8)", None),
        # more tokens than the longest sequence has
        ("execute_context_1(100)_generation_8(8)", 64),
        ("[Executor] _forward_step: 0 ctx reqs, 10 gen reqs", 4096),
    ],
)
def test_nothing_limits_what_is_not_known(text: str, longest: int | None) -> None:
    step = stated(text).step(longest)
    assert step.is_unlimited
    if stated(text).new_tokens is None:
        assert step.upper is None
    else:
        # as many tokens with more in the cache show what does not depend on it
        assert step.upper is not None
        assert (step.upper.q_tokens, step.upper.logits) == (step.q_tokens, step.logits)
        assert all(more > less for more, less in zip(step.upper.kv_tokens, step.kv_tokens, strict=True))


@pytest.mark.parametrize("max_context", [None, 4096])
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("1 ctx reqs, 512 ctx tokens, 0 gen reqs", "1x512 @?"),
        ("1 ctx reqs, 0 gen reqs", "1x? @?"),
        ("2 ctx reqs, 512 ctx tokens, 0 gen reqs", "2x? @?"),
        ("0 ctx reqs, 4 gen reqs", "4x? @?"),
    ],
)
def test_a_label_has_the_lengths_that_a_text_says(text: str, label: str, max_context: int | None) -> None:
    role = classify("", f"[Executor] _forward_step: {text}")
    assert role is not None
    assert role.stated is not None
    assert _label(role.stated.step(max_context)) == label
