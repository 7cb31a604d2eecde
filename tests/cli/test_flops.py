"""`llmperf flops`: JSON of Contract 3 (docs/architecture.md), the table, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.cli.app import app
from nsys_pipeline.model import load_model
from tests.unit.model.configs import read_json

ROLES = ("attention", "mlp")
LLAMA = ("flops", "llama-3-8b", "--prompt-tokens", "2048")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        app(list(argv), prog_name="llmperf")
    code = stop.value.code or 0
    assert isinstance(code, int)
    output = capsys.readouterr()
    return code, output.out, output.err


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    code, out, err = run(capsys, *argv, "--format", "json")
    assert (code, err) == (0, "")
    data: dict[str, Any] = json.loads(out)
    return data


def test_the_json_has_the_contracts_fields(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, *LLAMA)
    assert list(data) == ["schema", "model", "params", "active_params", "convention", "prefill", "decode", "ops"]
    assert (data["schema"], data["model"], data["params"]) == ("llmperf.flops/1", "llama-3-8b", 8030261248)
    fields = ["flops", "bytes", "weight_bytes", "kv_write_bytes", "kv_read_bytes"]
    assert list(data["prefill"]) == list(data["decode"]) == fields
    assert data["decode"]["kv_read_bytes"] == 2048 * 131072
    assert data["convention"]["label"] == "verified"


def test_ops_add_up_to_their_phase(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, *LLAMA, "--batch", "3")
    for phase in ("prefill", "decode"):
        ops = [op for op in data["ops"] if op["phase"] == phase]
        for field in ("flops", "weight_bytes", "kv_write_bytes", "kv_read_bytes"):
            assert sum(op[field] for op in ops) == data[phase][field]


def test_flops_are_for_the_whole_batch(capsys: pytest.CaptureFixture[str]) -> None:
    one, four = answer(capsys, *LLAMA), answer(capsys, *LLAMA, "--batch", "4")
    assert four["prefill"]["flops"] == 4 * one["prefill"]["flops"]
    assert four["decode"]["flops"] == 4 * one["decode"]["flops"]


def test_executed_full_attention_is_what_torch_counts(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, *LLAMA, "--attention", "full", "--count", "executed")
    assert (data["prefill"]["flops"], data["decode"]["flops"]) == (30_787_376_250_880, 16_083_582_976)


def test_context_defaults_to_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, *LLAMA)["decode"] == answer(capsys, *LLAMA, "--context", "2048")["decode"]
    assert answer(capsys, *LLAMA, "--context", "0")["decode"]["kv_read_bytes"] == 0


def test_a_list_gives_each_sequence_its_own_length(capsys: pytest.CaptureFixture[str]) -> None:
    ragged = answer(capsys, "flops", "tiny-llama", "--prompt-tokens", "7,30", "--context", "5,9")
    assert ragged["convention"]["batch"] == 2
    assert ragged["convention"]["prompt_tokens"] == [7, 30]
    alone = [
        answer(capsys, "flops", "tiny-llama", "--prompt-tokens", str(p), "--context", str(c))
        for p, c in ((7, 5), (30, 9))
    ]
    for phase in ("prefill", "decode"):
        assert ragged[phase]["flops"] == sum(one[phase]["flops"] for one in alone)


def test_a_gpu_adds_speed_of_light_times(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, *LLAMA, "--gpu", "NVIDIA H100 80GB HBM3")
    # decode streams the weights: 15.3 GB at 3.35 TB/s
    assert data["decode"]["sol_ns"] == pytest.approx(data["decode"]["bytes"] / 3.35e12 * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("argv", "warning", "hint"),
    [
        ((*LLAMA, "--peak", "bf16=100"), "no bandwidth is known for the GPU", "pass --bandwidth GB/S"),
        ((*LLAMA, "--bandwidth", "3000"), "no bf16 peak is known for the GPU", "pass --peak bf16=TFLOPS"),
        (
            (*LLAMA, "--gpu", "A100 80GB SXM", "--weight-dtype", "fp8"),
            "no fp8 peak is known for `A100 80GB SXM`",
            "pass --peak fp8=TFLOPS",
        ),
        (
            (*LLAMA, "--gpu", "H100 SXM", "--weight-dtype", "nvfp4"),
            "no fp4 peak is known for `H100 SXM`",
            "pass --peak fp4=TFLOPS",
        ),
        (
            (*LLAMA, "--peak", "fp8=100", "--dtype", "fp16"),
            "no fp16 peak and no bandwidth is known",
            "pass --peak fp16=TFLOPS and --bandwidth GB/S",
        ),
    ],
)
def test_what_a_speed_of_light_time_is_missing_is_told(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], warning: str, hint: str
) -> None:
    code, out, err = run(capsys, *argv, "--format", "json")
    assert (code, json.loads(out)["prefill"]["sol_ns"]) == (0, None)
    assert f"no SOL time: {warning}" in err
    assert f"hint: {hint}\n" in err


@pytest.mark.parametrize(
    ("argv", "products", "line"),
    [
        ((*LLAMA, "--weight-dtype", "nvfp4"), dict.fromkeys(ROLES, "fp4"), "; their products in fp4"),
        ((*LLAMA, "--weight-dtype", "fp8"), dict.fromkeys(ROLES, "fp8"), "; their products in fp8"),
        ((*LLAMA, "--weight-dtype", "int4"), None, None),
        ((*LLAMA, "--weight-dtype", "mxfp4"), None, None),
        (LLAMA, None, None),
    ],
)  # fmt: skip
def test_the_dtype_of_products_is_told_where_it_is_not_the_activations(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], products: dict[str, str] | None, line: str | None
) -> None:
    assert answer(capsys, *argv)["convention"]["products"] == products
    _, out, _ = run(capsys, *argv)
    assert ("products" in out) == (line is not None)
    assert (line or "") in out


def test_products_of_roles_that_differ_are_named_one_by_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    groups = {
        "a": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "float", "strategy": "tensor"},
              "input_activations": {"num_bits": 8, "type": "float"}},
        "b": {"targets": ["re:.*mlp.*"], "weights": weights},
    }  # fmt: skip
    config = dict(load_model("llama-3-8b").config)
    config["quantization_config"] = {"quant_method": "compressed-tensors", "config_groups": groups}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))

    _, out, _ = run(capsys, "flops", str(path), "--prompt-tokens", "8")
    assert "weights attention fp8, mlp int4; products attention in fp8" in " ".join(out.split())


def test_a_pass_crosses_the_pipeline_stages_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("flops", "llama-3-8b", "--prompt-tokens", "1", "--context", "1024", "--gpu", "H100 SXM")
    one, staged = answer(capsys, *shape)["decode"], answer(capsys, *shape, "--pp", "32")["decode"]
    assert staged["sol_ns"] == one["sol_ns"] == pytest.approx(15_144_206_336 / 3350)  # GB/s: 4.52 ms
    assert (staged["gpu_bytes"], staged["gpu_flops"]) == (15_144_206_336 / 32, round(one["flops"] / 32))
    assert "gpu_bytes" not in one
    split = answer(capsys, *shape, "--tp", "8", "--pp", "2")["decode"]
    assert split["sol_ns"] == pytest.approx(split["bytes"] / 8 / 3350)
    out = run(capsys, *shape, "--pp", "32")[1]
    assert "4.521 ms" in out
    assert "one GPU's share:" in out


def test_expert_parallelism_splits_routed_experts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    # By hand in docs/flops.md: dense parts whole on each GPU, an eighth of the two experts that a token runs.
    shape = ("flops", "mixtral-8x7b", "--prompt-tokens", "1", "--context", "1024", "--gpu", "H100 SXM")
    data = answer(capsys, *shape, "--ep", "8")["decode"]
    assert data["gpu_bytes"] == 3_083_485_184 + 22_548_578_304 // 8 == 5_902_057_472
    assert data["gpu_flops"] == 3_485_990_912 + 22_548_578_304 // 8 == 6_304_563_200
    assert data["sol_ns"] == pytest.approx(5_902_057_472 / 3350)
    assert data["flops"] == answer(capsys, *shape)["decode"]["flops"]
    both = answer(capsys, *shape, "--ep", "8", "--tp", "8")["decode"]
    assert both["gpu_bytes"] == round(both["bytes"] / 8)
    sliced = answer(capsys, *shape, "--ep", "2", "--tp", "8")["decode"]
    assert sliced["gpu_bytes"] == both["gpu_bytes"]


@pytest.mark.parametrize(
    ("model", "degrees", "gpus", "copies"),
    [
        ("llama-3-8b", {"--tp": 4}, 4, 1),
        ("llama-3-8b", {"--tp": 2, "--pp": 4, "--dp": 2}, 16, 2),
        ("mixtral-8x7b", {"--tp": 4, "--ep": 4}, 4, 1),
        ("mixtral-8x7b", {"--tp": 2, "--ep": 4, "--dp": 4, "--pp": 2}, 16, None),
    ],
)
def test_shares_of_a_training_step_add_up_to_the_whole(
    model: str, degrees: dict[str, int], gpus: int, copies: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    step = ("flops", model, "--prompt-tokens", "128", "--batch", "4", "--train", "--checkpointing", "full")
    whole = answer(capsys, *step)["train"]
    given = [str(each) for option in degrees.items() for each in option]
    shared = answer(capsys, *step, *given)["train"]
    _, table, _ = run(capsys, *step, *given)

    assert "gpus" not in whole
    assert shared["gpus"] == gpus
    for part in ("forward", "backward", "recomputed", "step"):
        for what, flops in whole[part].items():
            assert shared[part][what] == flops
            assert shared[part][f"gpu_{what}"] * gpus == pytest.approx(flops, abs=gpus / 2)
    optimizer = shared["optimizer"]
    if copies is None:
        assert "gpu_bytes" not in optimizer
    else:
        assert optimizer["gpu_bytes"] * gpus == pytest.approx(copies * whole["optimizer"]["bytes"], abs=gpus / 2)
    if "--dp" in degrees:
        assert optimizer["sharded_gpu_bytes"] * gpus == pytest.approx(whole["optimizer"]["bytes"], abs=gpus / 2)
    assert f"one GPU's share, of {gpus}: forward" in table
    assert "0 x 0 x 0" not in table


def test_gpus_that_share_experts_have_all_other_weights_in_their_optimizers(capsys: pytest.CaptureFixture[str]) -> None:
    step = ("flops", "mixtral-8x7b", "--prompt-tokens", "128", "--train")
    # 32 layers of 8 experts with three matrices of 4,096 x 14,336; AdamW moves seven numbers of two bytes for each.
    experts = 32 * 8 * 3 * 4096 * 14336
    rest = answer(capsys, *step)["params"] - experts

    for degrees, split, spread in ((("--ep", "4"), 1, 4), (("--ep", "4", "--tp", "2", "--pp", "2"), 4, 8)):
        optimizer = answer(capsys, *step, *degrees)["train"]["optimizer"]
        assert optimizer["gpu_bytes"] == 14 * (rest / split + experts / spread)


@pytest.mark.parametrize(("mode", "k"), [("prefill", 192), ("decode", 576)])
def test_latent_attention_prints_the_head_that_is_charged(
    capsys: pytest.CaptureFixture[str], mode: str, k: int
) -> None:
    data = answer(capsys, "flops", "deepseek-v3", "--prompt-tokens", "2048")
    (op,) = (op for op in data["ops"] if (op["phase"], op["layer"], op["name"]) == (mode, "layers.moe", "attention"))
    value = {192: 128, 576: 512}[k]
    pairs = {"prefill": 2048 * 2049 // 2, "decode": 2049}[mode]
    assert op["k"] == k
    assert op["flops"] == 2 * pairs * (k + value) * 128 * op["layers"]


def test_the_table_states_its_conventions(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *LLAMA)
    assert (code, err) == (0, "")
    assert "attention exact; count model; logits last; dtype bf16" in out
    for word in ("prefill", "decode", "29.69 TF", "16.08 GF", "gate_up", "lm_head", "minimum bytes", "verified"):
        assert word in out


def test_an_encoder_has_no_decode(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "flops", "vit-base")["decode"] is None
    assert run(capsys, "flops", "vit-base")[0] == 0


def test_a_text_encoder_decoder_sends_its_prompt_to_the_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, "flops", "t5-base", "--prompt-tokens", "100", "--context", "10")
    assert data["convention"]["encoder_tokens"] == 100
    assert data["convention"]["prompt_tokens"] == 1


def test_an_assumed_dtype_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 100}
    path.write_text(json.dumps(config), encoding="utf-8")
    code, out, err = run(capsys, "flops", str(path), "--prompt-tokens", "8", "--format", "json")
    assert code == 0
    assert json.loads(out)["convention"]["dtype_assumed"] is True
    assert "bf16 is assumed" in err
    assert run(capsys, "flops", str(path), "--prompt-tokens", "8", "--dtype", "fp32", "--format", "json")[2] == ""


def test_an_unknown_model_type_needs_approximate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = {"model_type": "nonesuch", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    path.write_text(json.dumps({**config, "vocab_size": 100, "torch_dtype": "bfloat16"}), encoding="utf-8")
    code, out, err = run(capsys, "flops", str(path), "--prompt-tokens", "8")
    assert (code, out) == (1, "")
    assert "known types:" in err
    code, out, err = run(capsys, "flops", str(path), "--prompt-tokens", "8", "--approximate")
    assert code == 0
    assert "approximate" in out
    assert "approximate" in err


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("flops", "llama-3-8b"), 2, "--prompt-tokens"),
        (("flops", "nonesuch", "--prompt-tokens", "8"), 1, "neither a preset nor a file"),
        ((*LLAMA, "--format", "yaml"), 2, "not an output format"),
        ((*LLAMA, "--attention", "some"), 2, "attention"),
        ((*LLAMA, "--context", "1,2,3"), 2, "lists 3 sequences, but the batch has 1"),
        (("flops", "llama-3-8b", "--prompt-tokens", "0"), 2, "at least 1"),
        (("flops", "llama-3-8b", "--prompt-tokens", "many"), 2, "not a number"),
        ((*LLAMA, "--gpu", "H999"), 1, "no peaks are known for `H999`\n\nhint: known GPUs: V100 SXM2,"),
        ((*LLAMA, "--gpu", "H100"), 1, "hint: choose one of: H100 SXM, H100 PCIe, H100 NVL, H100 SXM 64GB; or"),
        ((*LLAMA, "--gpu", "H20 96GB"), 1, "no peaks are known for `H20 96GB`\n\nhint: did you mean: H20; or"),
        ((*LLAMA, "--peak", "bf16"), 2, "DTYPE=TFLOPS"),
        ((*LLAMA, "--images", "1"), 2, "no vision tower"),
        ((*LLAMA, "--tp", "5"), 1, "do not divide"),
        ((*LLAMA, "--dp", "2"), 2, "--dp is about training\n\nhint: pass --train"),
        ((*LLAMA, "--train", "--dp", "2"), 2, "cannot share a batch of 1 evenly\n\nhint: --batch is that of all"),
        ((*LLAMA, "--mla", "cached"), 2, "has no latent attention; --mla does not apply"),
        ((*LLAMA, "--experts", "dense"), 2, "has no routed experts; --experts does not apply"),
        ((*LLAMA, "--ep", "8"), 2, "has no routed experts; --ep does not apply"),
        (("flops", "mixtral-8x7b", "--prompt-tokens", "8", "--tp", "4", "--ep", "6"), 1, "cannot be the same GPUs"),
        (("flops", "bert-base", "--prompt-tokens", "8", "--context", "4"), 2, "--context does not apply"),
        (("flops", "bert-base", "--prompt-tokens", "8", "--cached-tokens", "4"), 2, "--cached-tokens does not apply"),
        ((*LLAMA, "--weight-dtype", "fp5"), 1, "int4, mxfp4, nvfp4"),
    ],
)
def test_bad_input_is_one_error_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = run(capsys, *argv)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "idle"),
    [
        ("idefics", "vision tower and attention to images"),
        ("udop", "vision tower"),
    ],
)
def test_a_training_step_says_that_it_sees_no_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, idle: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(read_json("image_pass_configs.json")[name]["config"]), encoding="utf-8")
    step = ("flops", str(config), "--prompt-tokens", "16", "--dtype", "bf16", "--train")
    said = f"the training step is over text, without images: FLOPs of {idle} are not in it"
    assert answer(capsys, *step)["convention"]["notes"][-1] == said


def test_a_model_that_needs_an_image_is_not_trained_over_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(read_json("image_pass_configs.json")["pix2struct"]["config"]), encoding="utf-8")
    code, out, err = run(capsys, "flops", str(config), "--prompt-tokens", "16", "--dtype", "bf16", "--train")
    assert (code, out) == (2, "")
    assert "takes an image for each sequence, and --train counts text alone" in err
