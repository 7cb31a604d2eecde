"""What nsys said while it recorded (DIAGNOSTIC_EVENT), and what it means. The capture and the analysis both read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

# nsys says these in every capture with sampling off, or of processes that use no GPU; they mean nothing on their own.
_HARMLESS = re.compile(
    r"Unable to configure the collection of CPU IP|Scheduling information is absent|"
    r"No (NVTX|CUDA|cuDNN|cuBLAS) events collected|(cuDNN|cuBLAS) profiling might have not been started correctly|"
    r"nvtxDomainDestroy was called with wrong domain|(cuBLAS|cuDNN) symbols found|Tracing cuDNN library version"
)
_WARNING = 2


@attrs.frozen
class _Known:
    """A message of nsys' and what it means.

    `level` replaces nsys' own severity. `costs_gpu_work`: it explains why a trace holds no GPU work, and without that
    it means little: helper processes that use no GPU get it, too (`only_then`).
    """

    pattern: re.Pattern[str]
    code: str
    level: str
    meaning: str
    hint: str
    costs_gpu_work: bool = False
    only_then: bool = False


def _known(pattern: str, code: str, level: str, meaning: str, hint: str, **more: bool) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE), code, level, meaning, hint, **more)


_KNOWN = (
    _known(
        r"NVTX payload extension is incompatible",
        "nvtx_incompatible",
        "error",
        "the `nvtx` package of the workload is too new for this nsys: its ranges were lost",
        "pip install nvtx==0.2.11 in the workload's environment, or use Nsight Systems 2025.3 or newer",
    ),
    _known(
        r"Cannot find string for an exterior index",
        "ranges_break_import",
        "error",
        "nsys lost the CUDA events of the process over NVTX ranges that it cannot read, as XLA makes them",
        "record JAX and other XLA programs with `--nsys-arg=--nvtx-domain-exclude=TSL`",
        costs_gpu_work=True,
    ),
    _known(
        r"Installed CUDA driver version \(([\d.]+)\) is not supported by this build",
        "driver_newer",
        "warning",
        "the CUDA driver is newer than nsys knows; what it recorded is usually complete",
        "a newer Nsight Systems removes the doubt",
        costs_gpu_work=True,
    ),
    _known(
        r"MULTIPLE_SUBSCRIBERS|another (?:profil|tool)\w* .*(?:attached|subscrib|using CUPTI)",
        "other_profiler",
        "warning",
        "another profiler has the interface that nsys traces CUDA with",
        "turn the other one off (torch.profiler, DCGM, ncu), one at a time can record",
        costs_gpu_work=True,
    ),
    _known(
        r"CUDA profiling might have not been started correctly",
        "cuda_not_started",
        "warning",
        "nsys could not start to trace CUDA in a process",
        "see whether the driver is newer than nsys, whether the process may use the GPU, and whether another profiler "
        "is on; children that fork without exec need `--trace-forks`",
        costs_gpu_work=True,
        only_then=True,
    ),
    _known(
        r"Not all (?:NVTX|CUDA|OS runtime libraries) events might have been collected",
        "events_incomplete",
        # A process that only execs another one leaves it behind, so that it alone is no warning.
        "info",
        "nsys may not have collected every event",
        "a process was killed before its buffers were written: let the workload end by itself",
    ),
    _known(
        r"dropped|buffer.*(?:overflow|full)|lost",
        "events_dropped",
        "warning",
        "nsys dropped events",
        "capture a shorter part (`--duration`, `--capture-range`) or fewer traces",
    ),
    _known(
        r"NotInitializedException|Error when processing events",
        "importer_mismatch",
        "warning",
        "the importer could not read every event: the capture is newer than the importer, or damaged",
        "run the nsys that belongs to the importer (`llmperf doctor` shows both)",
        costs_gpu_work=True,
    ),
)


@attrs.frozen
class Said:
    """One thing that nsys said.

    `code` tells what it means, "nsys_diagnostic" where that is not known; then there is no `hint`.
    """

    code: str
    severity: str
    text: str
    meaning: str | None = None
    hint: str | None = None
    costs_gpu_work: bool = False

    @property
    def message(self) -> str:
        """What it means, with nsys' own words."""
        return f"{self.meaning} (nsys: {self.text})" if self.meaning else f"nsys: {self.text}"


def explained(diagnostics: Iterable[tuple[int, str]], *, lacks_gpu_work: bool) -> list[Said]:
    """What the messages (severity, text) amount to, each meaning once, in the order in which they come.

    Without GPU work (`lacks_gpu_work`) any warning may be the reason; else those that nobody knows have the severity
    "info".
    """
    found: dict[str, Said] = {}
    for severity, raw in diagnostics:
        text = " ".join(raw.split())
        if severity < _WARNING or _HARMLESS.search(text):
            continue
        known = next((one for one in _KNOWN if one.pattern.search(text)), None)
        if known is None:
            level = "error" if severity > _WARNING else "warning" if lacks_gpu_work else "info"
            found.setdefault(text, Said("nsys_diagnostic", level, text))
        elif lacks_gpu_work or not known.only_then:
            said = Said(known.code, known.level, text, known.meaning, known.hint, known.costs_gpu_work)
            found.setdefault(known.code, said)
    return list(found.values())


def no_gpu_work(
    said: Sequence[Said], *, gpus: Sequence[str], api_calls: int, is_cuda_traced: bool = True
) -> tuple[str, str, Said | None]:
    """Say why a trace holds no GPU work, and what to do; with the one of `said` that is the reason, if one is.

    `gpus`: names of those that the trace lists. `api_calls`: CUDA calls in it.
    """
    message = "no GPU work was recorded"
    if not is_cuda_traced:
        return f"{message}: nsys was not told to trace CUDA", "record again with `--trace cuda,nvtx`", None
    reason = next((one for one in said if one.costs_gpu_work), None)
    if not gpus and not api_calls and (reason is None or reason.code == "cuda_not_started"):
        noted = f" (nsys: {reason.text})" if reason else ""
        return (
            f"{message}: no process made a CUDA call, and the trace lists no GPU{noted}",
            "a workload on the CPU has none; else record where `llmperf doctor` finds a GPU",
            reason,
        )
    if reason:
        return f"{message}: {reason.message}", str(reason.hint), reason
    if api_calls:
        return (
            f"{message}, though {api_calls:,} CUDA calls were: none of them launched any, or nsys lost what they did",
            "record a part in which the GPU works (`--delay`, `--duration`, `--capture-range`), and let the workload "
            "end by itself",
            None,
        )
    return (
        f"{message}: no process made a CUDA call on the {' and the '.join(dict.fromkeys(gpus))}",
        "children that fork without exec need `--trace-forks`; or the recording ended before the GPU's work began",
        None,
    )
