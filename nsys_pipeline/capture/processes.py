"""The processes below nsys: which belong to the target, and how they are stopped. Linux, as nsys' command line is."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

NSYS_PID_NAME = "nsys-pid"
"""File in the staging directory of a run: the process number of the nsys that records it."""

# nsys' own helpers below `nsys profile`; a signal to them would cost the report.
_NSYS_HELPERS = ("nsys", "nsys-launcher", "nsys-tee")


def target_processes(nsys_pid: int) -> list[int]:
    """List the processes that the target consists of: everything below `nsys_pid` that is not a helper of nsys."""
    processes = _process_table()
    return [pid for pid in _descendants(nsys_pid, processes) if processes[pid][2] not in _NSYS_HELPERS]


def orphans(nsys_pid: int) -> list[int]:
    """List what a killed nsys left behind: its process group (nsys started a session of its own) and all below that."""
    processes = _process_table()
    group = [pid for pid, (_, pgid, _) in processes.items() if pgid == nsys_pid]
    agents = [pid for pid in processes if f"profile-{nsys_pid}\0".encode() in _command_line(pid)]
    below = [pid for member in group for pid in _descendants(member, processes)]
    return sorted({*group, *agents, *below})


def group_members(pgid: int) -> list[int]:
    """List the living processes of a process group."""
    return [pid for pid, (_, group, _) in _process_table().items() if group == pgid]


def recorders(folder: Path) -> list[int]:
    """List the processes of nsys that record into `folder`: nsys, its agents, which outlive it, and its importer.

    `folder` has the number of an nsys that has ended in a file NSYS_PID_NAME.
    """
    wanted = folder.resolve()
    lines = {pid: _command_line(pid).split(b"\0") for pid in _process_table()}
    writing = {pid for pid, words in lines.items() if any(_is_in(place, wanted, pid) for place in _outputs(words))}
    started = set(writing)
    with contextlib.suppress(OSError, ValueError):
        started.add(int((folder / NSYS_PID_NAME).read_text()))
    sessions = {f"profile-{pid}".encode() for pid in started}
    agents = {pid for pid, words in lines.items() if b"--start-agent" in words and sessions & set(words)}
    return sorted(writing | agents)


def is_recording(pid: int) -> bool:
    """Whether the process is nsys itself, neither its agent nor its importer."""
    return b"profile" in _command_line(pid).split(b"\0")[1:2]


def _outputs(words: list[bytes]) -> list[bytes]:
    """Values of `--output=X`, as nsys has it, and `--output-file X`, as its importer has it."""
    found = [word.partition(b"=")[2] for word in words if word.startswith(b"--output=")]
    return found + [after for word, after in pairwise(words) if word == b"--output-file"]


def _is_in(place: bytes, folder: Path, pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/cwd").resolve() / os.fsdecode(place)).parent.resolve() == folder
    except OSError:
        return False


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants(root: int, processes: dict[int, tuple[int, int, str]]) -> list[int]:
    found: list[int] = []
    generation = [root]
    while generation:
        generation = [pid for pid, (parent, _, _) in processes.items() if parent in generation]
        found += generation
    return found


def _process_table() -> dict[int, tuple[int, int, str]]:
    """Parent, process group and name of every process, zombies left out."""
    table = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name is in parentheses and may hold spaces and parentheses itself.
            head, _, tail = entry.read_text(errors="replace").rpartition(")")
            pid, _, name = head.partition(" (")
            state, parent, group = tail.split()[:3]
            if state not in "ZX":
                table[int(pid)] = (int(parent), int(group), name)
    return table


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
