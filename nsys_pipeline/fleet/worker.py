"""`python -m nsys_pipeline.fleet.worker`: do jobs that come on stdin, one after the other; answers go to stdout."""

from __future__ import annotations

import os
import pickle
import signal
import sys

from nsys_pipeline.fleet.work import run_job


def main() -> None:
    """Do jobs until stdin ends: when whoever started this is gone, that is after the job in hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
        except EOFError:
            return
        pickle.dump(run_job(job), answers)
        answers.flush()


if __name__ == "__main__":
    main()
