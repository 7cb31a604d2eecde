"""Decode for ever; with `deaf`, no signal that can be ignored ends it."""

import signal
import sys
import time

from nsys_pipeline.markers import phase, step

if "deaf" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    with phase("decode"):
        step(1, 16)
        time.sleep(0.05)
