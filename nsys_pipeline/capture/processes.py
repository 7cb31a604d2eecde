"""The processes below nsys: which belong to the target, and how they are stopped. Linux, as nsys' command line is."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

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
