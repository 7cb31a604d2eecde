"""Under torchrun: the sharded model computes the logits of the whole one."""

import json
import sys
from pathlib import Path

import torch

from nsys_pipeline.workload.models import build_model
from nsys_pipeline.workload.options import Shape, WorkloadOptions
from nsys_pipeline.workload.parallel import process_group, shard_model

options = WorkloadOptions(config=Path(sys.argv[1]), shapes=(Shape(1, 4, 1),))
device = torch.device("cpu")
with process_group(device, "tensor"), torch.inference_mode():
    model = build_model(options, device)
    prompt = torch.arange(12).reshape(2, 6)
    whole = model(input_ids=prompt).logits
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shard_model(model)
    sharded = model(input_ids=prompt).logits
    kept = sum(parameter.numel() for parameter in model.parameters())
    answer = {"close": torch.allclose(whole, sharded, atol=1e-5), "kept": kept / parameters}
    # One write: the lines of two ranks must not mix.
    sys.stdout.write(json.dumps(answer) + "\n")
