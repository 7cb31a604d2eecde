"""Marks for serving engines: one file for each, imported when the program imports that engine.

An engine's scheduler knows on the host how many tokens of which request each step computes and how many are cached.
The patches read that and nothing else: no question to the GPU, no synchronization, nothing but the standard library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType

# Module of the engine → the file here and its function, which is called with the module right after its import.
_PATCHES = {
    "vllm.envs": ("vllm", "patch_environment"),
    "vllm.v1.worker.gpu_worker": ("vllm", "patch_worker"),
    "vllm.v1.worker.cpu_worker": ("vllm", "patch_worker"),
    "vllm.v1.worker.xpu_worker": ("vllm", "patch_worker"),
    "vllm.v1.worker.gpu_model_runner": ("vllm", "patch_runner"),
    "vllm.v1.worker.gpu.model_runner": ("vllm", "patch_runner"),
    "vllm.v1.engine.core": ("vllm", "patch_core"),
    "vllm.v1.executor.multiproc_executor": ("vllm", "patch_executor"),
    "vllm.v1.utils": ("vllm", "patch_shutdown"),
    "sglang.srt.managers.scheduler": ("sglang", "patch_scheduler"),
    "sglang.srt.managers.tp_worker": ("sglang", "patch_worker"),
    "transformers.generation.continuous_batching.continuous_api": ("transformers", "patch_batching"),
}


def _late(file: str, function: str) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        getattr(importlib.import_module(f"{__name__}.{file}"), function)(module)

    return patch


PATCHES: Mapping[str, Callable[[ModuleType], None]] = {
    module: _late(file, function) for module, (file, function) in _PATCHES.items()
}
"""What to do with each module of an engine once it has been imported."""
