"""`python -m nsys_pipeline.workload`."""

import sys

from nsys_pipeline.workload.main import main

sys.exit(main())
