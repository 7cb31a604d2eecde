"""The ncu command that profiles the kernels of one occurrence of a phase."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.errors import QueryError

TENSOR_FLOPS = "sm__ops_path_tensor_src_bf16_dst_fp32.sum"
"""FLOPs of the tensor cores on bf16 inputs; on Hopper also those on fp16, fp8 and tf32 (measured on an H100)."""
APART = tuple(
    f"sm__ops_path_tensor_src_{path}.sum"
    for path in ("fp16_dst_fp16", "fp16_dst_fp32", "tf32_dst_fp32", "fp8", "fp8_dst_fp16", "fp8_dst_fp32", "int8")
)
"""Those of other inputs, if a GPU counts each kind apart. None has all of these: ncu prints `n/a` for a missing one."""
FADD, FMUL, FFMA = (f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum" for name in ("fadd", "fmul", "ffma"))
DRAM_READ, DRAM_WRITE, TIME = "dram__bytes_read.sum", "dram__bytes_write.sum", "gpu__time_duration.sum"
METRICS = (TENSOR_FLOPS, FADD, FMUL, FFMA, DRAM_READ, DRAM_WRITE, TIME)
"""What a roofline needs: FLOPs inside and outside the tensor cores, bytes from and to DRAM, time."""
# Volta and Turing, Ampere and Ada, Blackwell of workstations.
_APART_MAJORS = ("7", "8", "12")


def counts_apart(capability: str | None) -> bool:
    """Whether a GPU of this compute capability ('8.0') has a counter for each kind of tensor input.

    An RTX 4090 has one of its own for fp8, and GPUs of 12.x have others for it. On Hopper one counts every kind.
    Of 10.x it is not known, nor where the capability is not: taken as on Hopper, so that nothing counts twice.
    """
    return capability is not None and capability.partition(".")[0] in _APART_MAJORS


def metrics_of(capability: str | None) -> tuple[str, ...]:
    """The metrics to ask for on a GPU of this compute capability."""
    return (TENSOR_FLOPS, *APART, *METRICS[1:]) if counts_apart(capability) else METRICS


@attrs.frozen
class Target:
    """The kernels to profile: `names`, in ranges called `range_name`, `count` launches after the first `skip`.

    `names` is empty for every kernel of the range. `domain` is '' for NVTX' default domain. `range_name` is None where
    ncu cannot select by range: other threads launch the kernels, or the phase is inferred. Then `skip` counts launches
    in the whole process. `device` is the GPU of the one rank to profile; None if the job has one rank, or it has
    several GPUs.
    """

    names: tuple[str, ...]
    domain: str
    range_name: str | None
    is_push_pop: bool
    skip: int
    count: int
    has_graphs: bool = False
    device: int | None = None

    @classmethod
    def of(cls, kernels: Sequence[Mapping[str, Any]], launches: int | None, *, is_every_kernel: bool) -> Target:
        """The target that rows of the recipe ncu_kernels name, with at most `launches` launches.

        Kernels that communicate are left out, so that every other one of a range has to be named beside them.
        Raises QueryError if no others are in the occurrence.
        """
        left_out = [kernel for kernel in kernels if kernel["communicates"]]
        kernels = [kernel for kernel in kernels if not kernel["communicates"]]
        is_every_kernel = is_every_kernel and not left_out
        count = sum(kernel["in_occurrence"] for kernel in kernels)
        if not count:
            raise QueryError(
                "every kernel of the occurrence communicates with other GPUs, and ncu would wait for them forever",
                hint="profile another phase; `llmperf sql TRACE 'from collectives'` has what a trace tells of these",
            )
        chosen = [kernel for kernel in kernels if is_every_kernel or kernel["in_occurrence"]]
        # ncu looks for the range on the launching thread, and autograd's, say, has none. Inferred phases have no range.
        by_range = kernels[0]["range_name"] is not None and not any(kernel["other_thread_count"] for kernel in kernels)
        if by_range or not is_every_kernel:
            skip = sum(kernel["skipped" if by_range else "skipped_all"] for kernel in chosen)
        else:
            skip = kernels[0]["skipped_any"]  # without names, ncu counts kernels of other phases, too
        return cls(
            names=() if is_every_kernel else tuple(kernel["name"] for kernel in chosen),
            domain=kernels[0]["domain"] or "",
            range_name=kernels[0]["range_name"] if by_range else None,
            is_push_pop=kernels[0]["range_kind"] == "push_pop",
            skip=skip,
            count=min(count, launches or count),
            has_graphs=any(kernel["graph_count"] for kernel in kernels),
            # By a number that several ranks use, ncu cannot choose one of them.
            device=kernels[0]["cuda_device"]
            if kernels[0]["rank_count"] > 1 and kernels[0]["sharing_count"] == 1
            else None,
        )


def ncu_argv(
    ncu: str, target: Target, command: Sequence[str], output: Path, *, metrics: Sequence[str] = METRICS
) -> list[str]:
    """Argv that counts `metrics` of `target` while `command` runs, into the report `output` (.ncu-rep).

    Clocks stay as they are, as in the trace. Caches are flushed before each replay, which ncu does unless told
    otherwise: DRAM bytes include what a warm L2 would have served.
    """
    argv = [
        ncu, "--force-overwrite", "--export", str(output), "--target-processes", "all", "--clock-control", "none",
        "--metrics", ",".join(metrics),
    ]  # fmt: skip
    if target.range_name is not None:
        argv += ["--nvtx", "--nvtx-include", nvtx_expression(target.domain, target.range_name, target.is_push_pop)]
    if target.names:
        argv += ["--kernel-name-base", "function", "--kernel-name", f"regex:{name_pattern(target.names)}"]
    if target.device is not None:
        argv += ["--devices", str(target.device)]
    if target.has_graphs:
        argv += ["--graph-profiling", "node"]
    if target.skip:
        argv += ["--launch-skip", str(target.skip)]
    return [*argv, "--launch-count", str(target.count), *command]


def import_argv(ncu: str, report: Path) -> list[str]:
    """Argv that prints what is in `report` as CSV: a row for each kernel, a column for each metric."""
    return [ncu, "--import", str(report), "--csv", "--page", "raw", "--print-units", "base"]


def nvtx_expression(domain: str, range_name: str, is_push_pop: bool) -> str:
    r"""Name of a range for ncu: `domain@range/` if it is pushed and popped, `domain@range` if started and ended.

    Characters that mean something in the expression are escaped: ``@ , [ ] / * + \``.
    """
    prefix = f"{_escaped(domain)}@" if domain else ""
    return f"{prefix}{_escaped(range_name)}{'/' if is_push_pop else ''}"


def name_pattern(names: Iterable[str]) -> str:
    """A regular expression that matches exactly `names`. ncu searches it in the kernel's function name."""
    return "^(" + "|".join(re.sub(r"([^A-Za-z0-9_ ])", r"\\\1", name) for name in names) + ")$"


def _escaped(text: str) -> str:
    return re.sub(r"([\\@,\[\]/*+])", r"\\\1", text)
