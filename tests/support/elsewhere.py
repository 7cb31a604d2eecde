"""Run llmperf as on a system that is not Linux: `python -m tests.support.elsewhere COMMAND [ARGS…] [-- COMMAND …]`.

What only Linux or only POSIX has is hidden before anything of llmperf is imported, and a file that would be read or
written in the encoding of the machine is an error. The exit status is that of the first command that fails.
"""

from __future__ import annotations

# The standard library's own use of what is hidden is not the point.
import asyncio  # noqa: F401
import concurrent.futures  # noqa: F401
import errno
import multiprocessing  # noqa: F401
import os
import shutil  # noqa: F401
import signal
import subprocess  # noqa: F401
import sys
import sysconfig
import tempfile  # noqa: F401
import urllib.request  # noqa: F401
import warnings
from itertools import groupby
from typing import Any, NoReturn

# It has a file for each system, and on Linux they need what is hidden below.
import platformdirs.unix  # noqa: F401

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
FUNCTIONS = (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "setsid", "setpgid", "getpgid", "killpg", "mkfifo",
    "sched_getaffinity", "sched_setaffinity", "getloadavg", "sysconf", "nice", "chown", "waitid", "pidfd_open", "kill",
    "getpriority", "memfd_create", "posix_fadvise", "posix_fallocate", "sendfile", "copy_file_range",
)  # fmt: skip
SIGNALS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGQUIT", "SIGTSTP", "SIGCHLD", "SIGALRM", "SIGWINCH")


def hide() -> None:
    """Hide what other systems lack. What the standard library has already imported keeps what it has."""
    sysconfig.get_config_vars()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    for name in SIGNALS:
        if hasattr(signal, name):
            delattr(signal, name)
    sys.platform = "darwin"
    sys.addaudithook(_refuse)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"nsys_pipeline\.(?!capture|workload)")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).startswith(("/proc/", "/sys/", "/dev/shm")):
        raise FileNotFoundError(errno.ENOENT, "Linux alone has it", str(arguments[0]))


def main(arguments: list[str]) -> NoReturn:
    """Run each command in turn, in this process."""
    hide()
    from nsys_pipeline import cli

    for is_separator, command in groupby(arguments, lambda word: word == "--"):
        if is_separator:
            continue
        try:
            sys.argv = ["llmperf", *command]
            cli.main()
        except SystemExit as stop:
            if stop.code:
                raise
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
