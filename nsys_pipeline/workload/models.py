"""Build the model that is profiled: a real Hugging Face causal LM, by default with random weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nsys_pipeline import markers
from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.text import first_line
from nsys_pipeline.workload.describe import config_fields, ranks
from nsys_pipeline.workload.options import WorkloadOptions

if TYPE_CHECKING:
    import torch

# Distribution and install line; 2 and 4 share the module `flash_attn`, so the module's presence says nothing.
_FLASH_INSTALL = {
    "flash_attention_2": ("flash-attn", "pip install flash-attn --no-build-isolation"),
    "flash_attention_3": ("flash-attn-3", "build it from the hopper directory of the flash-attention sources"),
    "flash_attention_4": ("flash-attn-4", "pip install --pre flash-attn-4"),
}


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; auto is the GPU of this rank, or the CPU. Raises UsageError without it."""
    import os

    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("torch sees no GPU", hint="use `--device cpu`, or run `llmperf doctor`")
    if name == "cuda":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"`{name}` is no device", hint="use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def build_model(options: WorkloadOptions, device: torch.device, auto: str = "AutoModelForCausalLM") -> Any:
    """Build the model in evaluation mode on `device`. Random weights are drawn there, so that nothing is downloaded.

    `auto`: the class of transformers that knows models of this kind.

    Raises ModelError (config unreadable or unknown to transformers, weights missing) and UsageError (the attention
    implementation is not installed).
    """
    import torch
    import transformers

    auto_class = getattr(transformers, auto)

    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    _check_attention(options.attn)
    # None lets transformers choose: sdpa where the model has it.
    attention = None if options.attn == "auto" else options.attn
    torch.manual_seed(options.seed)
    try:
        if options.weights == "pretrained":
            model = auto_class.from_pretrained(options.reference, dtype=dtype, attn_implementation=attention).to(device)
        else:
            config = _config_from_file(options)
            if config is None:
                config = transformers.AutoConfig.from_pretrained(options.model)
            # On the device and in its dtype from the start: a 70 B model must not pass through host memory.
            with torch.device(device):
                model = auto_class.from_config(config, dtype=dtype, attn_implementation=attention)
    except ImportError as error:
        raise UsageError(f"transformers cannot use attention `{options.attn}`: {error}") from error
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot build `{options.reference}`: {first_line(error)}") from error
    return model.eval().requires_grad_(False)


def run_description(model: Any, options: WorkloadOptions, device: torch.device) -> dict[str, Any]:
    """Fields of the run mark (docs/architecture.md, Contract 1): the model's shape and the setting."""
    import torch
    import transformers

    return {
        "model": config_fields(model.config, is_quantized=getattr(model, "is_quantized", False)),
        **({"name": options.name} if options.name else {}),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attn": model.config._attn_implementation,
        "markers": markers.backend_name(),
        "framework": "transformers",
        "framework_version": transformers.__version__,
        "torch_version": torch.__version__,
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "compile": options.compile,
        "cuda_graphs": options.cuda_graphs,
        "tp": ranks()["world"] if options.parallel == "tensor" else 1,
        "dp": ranks()["world"] if options.parallel == "data" else 1,
        "shapes": [str(shape) for shape in options.shapes],
        **ranks(),
    }


def _config_from_file(options: WorkloadOptions) -> Any:
    """The config of a config.json; None without one."""
    from transformers import AutoConfig

    if options.config is None:
        return None
    try:
        fields = json.loads(options.config.read_text())
        model_type = fields.pop("model_type")
    except OSError as error:
        raise ModelError(f"cannot read `{options.config}`: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"`{options.config}` is no Hugging Face config.json: it names no model_type") from error
    return AutoConfig.for_model(model_type, **fields)


def _check_attention(name: str) -> None:
    import importlib.metadata

    package, install = _FLASH_INSTALL.get(name, ("", ""))
    try:
        importlib.metadata.version(package or "torch")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"attention `{name}` needs the package `{package}`, which is not installed", hint=install
        ) from None
