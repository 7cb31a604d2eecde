"""`python -m nsys_pipeline.workload.vlm REQUEST.json`."""

import sys

from nsys_pipeline.workload.vlm.main import main

sys.exit(main(sys.argv[1:]))
