"""Phases and shapes that `--auto` says, against what the models really compute: see tests/support/tiny_models.py."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import pytest

from nsys_pipeline.workload.caches import cache_keyword
from tests.support.tiny_models import build, known, prompt, witness
from tests.unit.workload.conftest import Recorder

pytest.importorskip("torch")
pytest.importorskip("transformers")

FAMILIES = ["llama", "qwen3", "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "gpt2"]


def needs(name: str) -> None:
    if not known(name):
        pytest.skip(f"this transformers has no {name}")


def phases(lines: list[str]) -> list[str]:
    return [line.partition(",")[0] for line in lines]


def decodes(batch: int, first: int, count: int) -> list[str]:
    return [f"decode {batch}x1+{held}" for held in range(first, first + count)]


@pytest.mark.parametrize("name", FAMILIES)
def test_generate(marked: Recorder, name: str) -> None:
    needs(name)
    model = build(name)
    with witness(model) as computed:
        for _ in range(2):
            model.generate(prompt(3, 6), max_new_tokens=5, do_sample=False)
    assert phases(marked.passes) == ["prefill 3x6+0", *decodes(3, 6, 4)] * 2
    assert marked.shapes == computed
    assert [len(request) for request in marked.requests] == [5, 5]
    assert [run["model"]["model_type"] for run in marked.runs] == [name]


def test_two_stacks(marked: Recorder) -> None:
    model = build("t5")
    with witness(model) as computed:
        model.generate(prompt(2, 7), max_new_tokens=4, do_sample=False)
    assert phases(marked.passes) == ["encoder 2x7+0", "prefill 2x1+0", *decodes(2, 1, 3)]
    assert marked.shapes == computed


def test_two_stacks_with_a_prompt_for_the_decoder(marked: Recorder) -> None:
    model = build("t5")
    with witness(model) as computed:
        model.generate(prompt(2, 7), decoder_input_ids=prompt(2, 4), max_new_tokens=3, do_sample=False)
    # `generate` puts the start token before it
    assert phases(marked.passes) == ["encoder 2x7+0", "prefill 2x5+0", *decodes(2, 5, 2)]
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
def test_beams(marked: Recorder, name: str) -> None:
    needs(name)
    model = build(name)
    with witness(model) as computed:
        model.generate(prompt(2, 6), num_beams=3, max_new_tokens=3, do_sample=False)
    assert phases(marked.passes) == ["prefill 6x6+0", *decodes(6, 6, 2)]
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_without_a_cache_each_step_runs_the_whole_sequence(marked: Recorder, name: str) -> None:
    needs(name)
    model = build(name)
    with witness(model) as computed:
        model.generate(prompt(2, 6), use_cache=False, max_new_tokens=3, do_sample=False)
    assert phases(marked.passes) == ["prefill 2x6+0", "decode 2x7+0", "decode 2x8+0"]
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_static_caches(marked: Recorder, name: str) -> None:
    needs(name)
    model = build(name)
    with witness(model) as computed:
        for _ in range(2):
            # A second request of one shape may take the first one's cache, emptied.
            model.generate(prompt(2, 6), cache_implementation="static", max_new_tokens=4, do_sample=False)
    assert phases(marked.passes) == ["prefill 2x6+0", *decodes(2, 6, 3)] * 2
    assert marked.shapes == computed


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_goes_over_all_positions_of_a_static_cache(marked: Recorder, attention: str) -> None:
    import torch
    from transformers import DynamicCache, StaticCache

    model = build("llama")
    model.config._attn_implementation = attention
    kept = cache_keyword(model)
    # Transformers 4.46 shows its scores to those who ask.
    asked = {"output_attentions": attention == "eager"}
    seen = []
    hook = model.model.layers[0].self_attn.register_forward_hook(lambda _module, _arguments, out: seen.append(out[1]))
    with torch.no_grad():
        for cache in (_static_cache(StaticCache, model), DynamicCache()):
            model(prompt(2, 6), cache_position=torch.arange(6), **{kept: cache}, **asked)
            model(prompt(2, 1), cache_position=torch.tensor([6]), **{kept: cache}, **asked)
    hook.remove()

    static, dynamic = marked.steps[:2], marked.steps[2:]
    assert [(step.q_tokens, step.kv_tokens, step.padding_tokens) for step in static] == [
        ((6, 6), (0, 0), 0), ((1, 1), (6, 6), 0),
    ]  # fmt: skip
    assert [step.executed.kv_tokens for step in static] == [(10, 10), (15, 15)]
    assert [step.padded for step in dynamic] == [None, None]
    if attention == "eager":
        # Scores of each query and key that are computed.
        assert [tuple(scores.shape[2:]) for scores in seen] == [(6, 16), (1, 16), (6, 6), (1, 7)]


def test_a_prompt_in_chunks(marked: Recorder) -> None:
    from transformers import DynamicCache, GenerationConfig

    if not hasattr(GenerationConfig(), "prefill_chunk_size"):
        pytest.skip("this transformers does not know chunks")
    model = build("llama")
    with witness(model) as computed:
        # transformers 5.0 makes none itself here
        kept = {cache_keyword(model): DynamicCache()}
        model.generate(prompt(2, 7), prefill_chunk_size=3, max_new_tokens=3, do_sample=False, **kept)
    # the last chunk is one token long, and is no decode step
    assert phases(marked.passes) == ["prefill 2x3+0", "prefill 2x3+3", "prefill 2x1+6", *decodes(2, 7, 2)]
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["qwen3", "gemma3_text"])
def test_a_chat_goes_on_with_its_cache(marked: Recorder, name: str) -> None:
    import torch
    from transformers import DynamicCache

    needs(name)
    model = build(name)
    kept = cache_keyword(model)
    cache = DynamicCache()
    with witness(model) as computed:
        said = model.generate(prompt(1, 6), max_new_tokens=3, do_sample=False, **{kept: cache})
        longer = torch.cat([said, prompt(1, 5)], dim=1)
        model.generate(longer, max_new_tokens=2, do_sample=False, **{kept: cache})
    # eight of nine tokens are cached: the last one that was made never went through
    expected = ["prefill 1x6+0", *decodes(1, 6, 2), "prefill 1x6+8", *decodes(1, 14, 1)]
    assert phases(marked.passes) == expected
    assert marked.shapes == computed


def test_a_chat_goes_on_with_the_new_tokens_alone(marked: Recorder) -> None:
    import torch
    import transformers
    from transformers import DynamicCache

    model = build("llama")
    if "is_first_iteration" not in inspect.signature(getattr(model, "_prefill", print)).parameters:
        pytest.skip(f"transformers {transformers.__version__} wants the whole prompt")
    kept = cache_keyword(model)
    cache = DynamicCache()
    with witness(model) as computed:
        model.generate(prompt(1, 6), max_new_tokens=3, do_sample=False, **{kept: cache})
        rest = {"attention_mask": torch.ones((1, 13), dtype=torch.long), kept: cache, "prefill_chunk_size": 2}
        model.generate(prompt(1, 5), max_new_tokens=2, do_sample=False, **rest)
    chunks = ["prefill 1x2+8", "prefill 1x2+10", "prefill 1x1+12"]
    assert phases(marked.passes) == ["prefill 1x6+0", *decodes(1, 6, 2), *chunks, *decodes(1, 13, 1)]
    assert marked.shapes == computed


def test_a_cached_prompt_is_copied_for_each_request(marked: Recorder) -> None:
    import torch
    from transformers import DynamicCache

    model = build("llama")
    kept = cache_keyword(model)
    cache, system = DynamicCache(), prompt(1, 6)
    with witness(model) as computed, torch.no_grad():
        model(system, use_cache=True, **{kept: cache})
        for tokens in (3, 4):
            whole = torch.cat([system, prompt(1, tokens)], dim=1)
            model.generate(whole, max_new_tokens=2, do_sample=False, **{kept: copy.deepcopy(cache)})
    expected = ["prefill 1x6+0", "prefill 1x3+6", "decode 1x1+9", "prefill 1x4+6", "decode 1x1+10"]
    assert phases(marked.passes) == expected
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "qwen3_moe"])
@pytest.mark.parametrize("positional", [False, True])
def test_a_loop_of_one_s_own(marked: Recorder, name: str, positional: bool) -> None:
    import torch

    needs(name)
    model = build(name)
    kept = cache_keyword(model)
    tokens = prompt(2, 6)
    with witness(model) as computed, torch.no_grad():
        output = model(tokens)
        for _ in range(3):
            cache = getattr(output, kept)
            # by place: input_ids, attention_mask, position_ids, the cache
            args, kwargs = ((None, None, cache), {}) if positional else ((), {kept: cache})
            output = model(tokens[:, -1:], *args, **kwargs)
    assert phases(marked.passes) == ["prefill 2x6+0", *decodes(2, 6, 3)]
    assert marked.shapes == computed


def test_a_static_cache_in_a_loop_of_one_s_own(marked: Recorder) -> None:
    import torch
    from transformers import StaticCache

    model = build("llama")
    kept = cache_keyword(model)
    cache = _static_cache(StaticCache, model)
    with torch.no_grad():
        for _ in range(2):
            model(prompt(2, 6), cache_position=torch.arange(6), **{kept: cache})
            copied = copy.deepcopy(cache)
            for at in (6, 7):
                model(prompt(2, 1), cache_position=torch.tensor([at]), **{kept: cache})
            # what the copy holds is not what the original holds
            model(prompt(2, 1), cache_position=torch.tensor([6]), **{kept: copied})
            cache.reset()
    assert phases(marked.passes) == ["prefill 2x6+0", *decodes(2, 6, 2), *decodes(2, 6, 1)] * 2


def test_a_model_that_guesses_for_another(marked: Recorder) -> None:
    model, draft = build("llama"), build("llama", num_hidden_layers=1)
    with witness(model) as computed:
        model.generate(prompt(1, 6), assistant_model=draft, max_new_tokens=8, do_sample=False)
    seen = [line for line in phases(marked.passes) if line != "draft"]
    assert seen[0].startswith("prefill 1x")
    assert {line.split()[0] for line in seen[1:] if "1x1+" not in line} == {"verify"}
    assert "draft" in marked.passes
    assert [line.split()[1] for line in seen] == computed
    assert [run["model"]["num_hidden_layers"] for run in marked.runs] == [2]


def test_guesses_from_the_prompt(marked: Recorder) -> None:
    import torch

    model = build("llama")
    repeated = torch.cat([prompt(1, 6), prompt(1, 6)], dim=1)
    with witness(model) as computed:
        # transformers 5.0 and older cannot do this without an end token
        model.generate(repeated, prompt_lookup_num_tokens=3, max_new_tokens=6, do_sample=False, eos_token_id=2)
    assert marked.passes[0].startswith("prefill 1x1")
    assert all(line.split()[0] == ("decode" if "1x1+" in line else "verify") for line in marked.passes[1:])
    assert marked.shapes == computed


def test_training_and_an_evaluation(marked: Recorder) -> None:
    import torch

    model = build("llama").train()
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = prompt(2, 8)
    with witness(model) as computed:
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.eval()(input_ids=tokens, labels=tokens)
    assert phases(marked.passes) == ["forward 2x8+0", "backward", "optimizer", "prefill 2x8+0"]
    assert marked.shapes == computed


def test_a_run_says_which_weights_it_trains(marked: Recorder) -> None:
    model = build("llama").train()
    for name, weight in model.named_parameters():
        weight.requires_grad_(".1.mlp" in name)
    tokens = prompt(2, 8)
    model(input_ids=tokens, labels=tokens).loss.backward()
    assert re.search(marked.runs[0]["train_only"], "model.layers.1.mlp.up_proj.weight")
    assert not re.search(marked.runs[0]["train_only"], "model.layers.0.mlp.up_proj.weight")
    assert not re.search(marked.runs[0]["train_only"], "model.layers.1.self_attn.q_proj.weight")


def test_embeddings_in_the_place_of_tokens(marked: Recorder) -> None:
    model = build("llama")
    embedded = model.get_input_embeddings()(prompt(2, 6)).detach()
    with witness(model) as computed:
        model.generate(inputs_embeds=embedded, max_new_tokens=3, do_sample=False)
    assert phases(marked.passes) == ["prefill 2x6+0", *decodes(2, 6, 2)]
    assert marked.shapes == computed


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_recurrent_models(marked: Recorder, name: str) -> None:
    needs(name)
    model = build(name)
    model.generate(prompt(2, 6), max_new_tokens=4, do_sample=False)
    assert phases(marked.passes) == ["prefill 2x6+0", *decodes(2, 6, 3)]


def test_a_state_that_nobody_sees_is_not_taken_for_none(marked: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    # as with a transformers that hands its cache on in a way that is not known yet
    from nsys_pipeline.workload import auto

    monkeypatch.setattr(auto, "find_cache", lambda _arguments: None)
    build("llama").generate(prompt(2, 6), max_new_tokens=4, do_sample=False)
    assert phases(marked.passes) == ["prefill 2x6+0", "decode", "decode", "decode"]


def _static_cache(kind: Any, model: Any) -> Any:
    try:
        return kind(config=model.config, max_cache_len=16)
    except TypeError:
        # transformers 4 allocates at once
        return kind(config=model.config, batch_size=2, max_cache_len=16, device="cpu", dtype=model.dtype)
