"""Ranges through the nvtx package."""

import nvtx

for _ in range(3):
    with nvtx.annotate("prefill"):
        pass
