"""Open a range, say something, and end with status 7."""

import sys

from nsys_pipeline.markers import phase, step

with phase("prefill"):
    step(q_tokens=8)
print("about to crash", flush=True)
sys.exit(7)
