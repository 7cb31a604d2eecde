"""`llmperf capture`: what is refused before anything runs. No nsys is needed for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nsys_pipeline.capture import CaptureResult
from nsys_pipeline.cli import analyze as analyze_verb
from nsys_pipeline.cli import capture as capture_verb
from tests.cli.run import run
from tests.e2e.conftest import TINY_LLAMA
from tests.unit.capture.fake_nsys import fake_nsys
from tests.unit.model.configs import read_json


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "2", "--", "true"], "`--batch` belongs to the built-in workload"),
        (["--shape", "1x2", "--dtype", "float16", "--", "true"], "`--shape` and `--dtype` belong to the built-in"),
        (["--sample", "--compile", "--layers", "--", "true"], "`--compile`, `--sample` and `--layers` belong to"),
        # an option that says what is the default is no less without effect
        (["--sync", "step", "--", "true"], "`--sync` belongs to the built-in workload"),
        (["--repeats", "2"], "`--repeats` belongs to the built-in workload"),
        (["--model", "llama-3.2-1b", "--", "true"], "a model and a command are two workloads"),
        (["--model", "llama-3.2-1b", "--auto"], "`--auto` is for `-- COMMAND`"),
        (["--model", "llama-3.2-1b", "--profile", "vllm-serve"], "`--profile` is for a server's `-- COMMAND`"),
        (["--model", "llama-3.2-1b", "--parallel", "data"], "`--parallel` needs `--nproc`"),
        (["--window", "5s", "--", "true"], "belong to a server"),
        (
            ["--profile", "vllm-serve", "--load", "python '", "--", "true"],
            "cannot be read as a command line: No closing",
        ),
        (["--profile", "vllm-serve", "--load", "", "--", "true"], "`--load` names no program"),
        (["--profile", "vllm-serve", "--url", "banana", "--", "true"], "`banana` is no address of a server"),
        (["--profile", "vllm", "--window", "soon", "--", "true"], "`soon` is no window"),
        (["--profile", "vllm", "--window", "5s", "--capture-range", "none", "--", "true"], "two ways to say when"),
        (["--profile", "vllm", "--rank-reports", "--", "true"], "`--profile` and `--rank-reports` do not go together"),
        (["--model", "llama-3.2-1b", "--rank-reports"], "`--rank-reports` needs `--nproc`"),
        (["--model", "llama-3.2-1b", "--shape", "1x2", "--batch", "2"], "`--shape` and `--batch` say the same thing"),
        (["--model", "llama-3.2-1b", "--shape", "0x2"], "`0x2` is no shape"),
        (["--model", "llava-1.5-7b", "--input-dir", "."], "`--input-dir` is for the workload `vlm`"),
        (["--workload", "pictures", "--model", "x"], "`--workload pictures` is not one of text, vlm"),
        (["--workload", "vlm", "--input-dir", "."], "the workload `vlm` needs a model"),
        (["--workload", "vlm", "--model", "llava-1.5-7b"], "takes its images from one place"),
        (["--workload", "vlm", "--model", "llava-1.5-7b", "--input-dir", "none"], "no such file or directory: `none`"),
        (["--workload", "vlm", "--model", "llava-1.5-7b", "--synthetic-images", "64"], "`64` is no size of an image"),
        (["--workload", "vlm", "--model", "llava-1.5-7b", "--shape", "1x2"], "`--shape` is not for the workload `vlm`"),
        (
            ["--workload", "vlm", "--model", "llama-3.2-1b", "--input-dir", "."],
            "`llama-3.2-1b` takes no images",
        ),
        (["--model", "llama-3.2-1b", "--device", "cpu", "--ops"], "`--ops` needs a GPU: torch marks its operators"),
        (["--model", "llama-3.2-1b", "--device", "cpu", "--cuda-graphs"], "`--cuda-graphs` needs a GPU"),
        (
            ["--model", "llama-3.2-1b", "--device", "cpu", "--capture-range", "profiler"],
            "`--capture-range profiler` needs a GPU",
        ),
        (
            ["--workload", "vlm", "--model", "llava-1.5-7b", "--synthetic-images", "64x64", "--device", "cpu", "--ops"],
            "`--ops` needs a GPU",
        ),
        (["--baseline", "--", "true"], "`--baseline` belongs to the built-in workload"),
        (["--model", "llama-3.2-1b", "--baseline-seconds", "2"], "`--baseline-seconds` is for `-- COMMAND`"),
        (["--baseline-seconds", "2", "--delay", "1", "--", "true"], "`--baseline-seconds` and `--delay` do not go"),
        (["--backend", "perf", "--", "true"], "`--backend perf` is not one of nsys, torch"),
        (["--backend", "torch", "--profile", "vllm", "--", "true"], "records one program, and a server is several"),
        (["--backend", "torch", "--model", "llama-3.2-1b", "--gpu-metrics"], "`--gpu-metrics` is for nsys"),
        (["--backend", "torch", "--model", "llama-3.2-1b", "--nsys", "x", "--delay", "1"], "are for nsys"),
        (["--nvtx-range", "x", "--", "true"], "`--nvtx-range` needs `--capture-range nvtx`"),
        ([], "there is nothing to run"),
    ],
)
def test_options_without_effect_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, "capture", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_what_follows_a_program_is_the_programs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, separator: list[str]
) -> None:
    nsys = fake_nsys(tmp_path)
    command = ["python", "train.py", "-o", "out", "--timeout", "9", "--", "-x"]
    code, out, err = run(capsys, "capture", "--nsys", nsys, "-o", "run", "--dry-run", *separator, *command)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].endswith("--output=run/trace python train.py -o out --timeout 9 -- -x")


def test_a_dry_run_has_the_load(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nsys = fake_nsys(tmp_path)
    server = ("--profile", "vllm-serve", "--load", "true --n 3", "--", "vllm", "serve", "M")
    code, out, err = run(capsys, "capture", "--nsys", nsys, "-o", "run", "--dry-run", *server)
    assert (code, err) == (0, "")
    beside = [line.removeprefix("#   ") for line in out.splitlines() if line.startswith("#   ")]
    url = "http://127.0.0.1:8000"
    assert beside == [f"curl -X POST {url}/start_profile", "true --n 3", f"curl -X POST {url}/stop_profile"]
    # The last line is still the command.
    assert out.splitlines()[-1].endswith("vllm serve M --profiler-config.profiler cuda")


def test_a_config_has_no_weights_to_load(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_LLAMA))
    code, out, err = run(capsys, "capture", "--model", path, "--weights", "pretrained", "-o", tmp_path / "run")
    assert (code, out) == (2, "")
    assert f"error: `{path}` is a config and holds no weights\n" in err


@pytest.mark.parametrize("verb", ["capture", "analyze"])
def test_ctrl_c_while_importing_is_no_traceback(verb: str, tmp_path: Path) -> None:
    # given a Ctrl-C that comes while the program imports itself
    program = (
        "import sys, types; module = types.ModuleType('nsys_pipeline.cli.app')\n"
        "def interrupt(name): raise KeyboardInterrupt\n"
        "module.__getattr__ = interrupt; sys.modules[module.__name__] = module\n"
        "from nsys_pipeline.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, verb],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("t5-base", "`t5-base` is an encoder-decoder"),
        ({"num_key_value_heads": 3}, "`num_attention_heads` = 4 is not a multiple of `num_key_value_heads` = 3"),
    ],
)
@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_models_that_cannot_run_are_refused_before_nsys(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: str | dict[str, int], message: str, weights: str
) -> None:
    if isinstance(model, dict):
        path = tmp_path / "bad.json"
        path.write_text(json.dumps(TINY_LLAMA | model))
        model = str(path)
    # an nsys that is not there is not even looked for
    code, out, err = run(
        capsys, "capture", "--model", model, "--weights", weights, "--nsys", "/no/nsys", "-o", tmp_path / "run"
    )
    assert code in (1, 2)
    assert out == ""
    assert message in err
    assert not (tmp_path / "run").exists()


def test_an_encoder_decoder_that_sees_is_for_the_workload_vlm(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "pix2struct", "is_encoder_decoder": True}))
    images = ("--workload", "vlm", "--synthetic-images", "60x100")
    # It gets as far as to look for nsys.
    code, _, err = run(capsys, "capture", "--model", path, *images, "--nsys", "/no/nsys", "-o", tmp_path / "run")
    assert (code, "/no/nsys" in err) == (3, True)
    code, _, err = run(capsys, "capture", "--model", path, "--nsys", "/no/nsys", "-o", tmp_path / "run")
    assert (code, "is an encoder-decoder, and the built-in workload runs decoders alone" in err) == (2, True)


@pytest.mark.parametrize("verb", ["analyze", "sql"])
def test_a_trace_whose_name_is_not_utf8(verb: str, tmp_path: Path) -> None:
    trace = tmp_path / "caf\udce9.sqlite"
    trace.write_bytes(b"SQLite format 3\0")
    done = subprocess.run(
        [sys.executable, "-m", "nsys_pipeline", verb, trace, *(["SELECT 1"] if verb == "sql" else [])],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert rb"caf\udce9.sqlite` is not UTF-8" in done.stderr
    assert b"bug in llmperf" not in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_paths_that_the_terminal_cannot_show(encoding: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nsys_pipeline", "capture", "--nsys", "nsys", "--dry-run", "--", "w\udce9"],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PATH": f"{fake_nsys(tmp_path).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    assert rb"w\udce9" in done.stdout


def test_a_dry_run_of_torch_profiler_needs_no_nsys(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA))
    monkeypatch.chdir(tmp_path)

    code, out, err = run(capsys, "capture", "--backend", "torch", "--model", "config.json", "-o", "run", "--dry-run")

    assert (code, err) == (0, "")
    (command,) = [line for line in out.splitlines() if "nsys_pipeline.workload" in line]
    assert "LLMPERF_MARKERS=profiler LLMPERF_TORCH_TRACE=run/trace.json.gz" in command
    assert "nsys profile" not in out


def test_without_nsys_the_other_way_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA))
    monkeypatch.chdir(tmp_path)

    code, _, err = run(capsys, "capture", "--model", "config.json", "--nsys", tmp_path / "none", "--dry-run")

    assert code == 3
    assert "`--backend torch`" in err


def test_operators_of_the_cpu_are_recorded_by_torch_profiler(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA))
    monkeypatch.chdir(tmp_path)
    options = ("--backend", "torch", "--model", "config.json", "--device", "cpu", "--ops", "-o", "run", "--dry-run")

    code, out, err = run(capsys, "capture", *options)

    assert (code, err) == (0, "")
    assert "--ops" in out


# Of transformers' image-text-to-text models: one read whole, one of which the text alone is read, one whose images go
# to its encoder, one that looks at them, one of a type that is not known here.
@pytest.mark.parametrize("name", ["llava", "fast_vlm", "udop", "mllama", "not_known"])
def test_models_that_may_see_are_not_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    configs = {**read_json("small_configs.json"), **read_json("image_pass_configs.json"), "not_known": {}}
    configs["fast_vlm"] = {
        "model_type": "fast_vlm",
        "text_config": {**TINY_LLAMA, "model_type": "qwen2"},
        "vision_config": {"architecture": "fastvit_sa12"},
    }
    config = configs[name].get("config", configs[name])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name, **config}))
    monkeypatch.chdir(tmp_path)
    options = ("--backend", "torch", "--workload", "vlm", "--model", "config.json", "--synthetic-images", "64x64")

    code, _, err = run(capsys, "capture", *options, "-o", "run", "--dry-run")

    assert (code, err) == (0, "")


@pytest.mark.parametrize("missing", ["platformdirs", "duckdb.sub"])
def test_a_machine_that_cannot_analyze_keeps_the_capture(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(trace: Path) -> None:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setattr(analyze_verb, "keep_reports", fails)
    result = SimpleNamespace(traces=[tmp_path / "trace.sqlite"], run_dir=tmp_path, exit_status=0)
    capture_verb._analyze(cast(CaptureResult, result))
    assert f"note: not analyzed, {missing} is not installed: `llmperf analyze" in capsys.readouterr().err
    missing = "nsys_pipeline.gone"
    with pytest.raises(ModuleNotFoundError):
        capture_verb._analyze(cast(CaptureResult, result))
