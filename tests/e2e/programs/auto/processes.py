"""Loads data in worker processes, forks, starts other programs, and ends with a status of its own."""

import os
import subprocess
import sys

import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=256,
)
model = LlamaForCausalLM(config).eval()
if "child" in sys.argv:
    with torch.no_grad():
        model(torch.randint(3, 256, (1, 4)))
    sys.exit(4)
child = os.fork()
if child == 0:
    os._exit(3)
print("fork:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print("other:", subprocess.run([sys.executable, __file__, "child"], check=False).returncode, flush=True)
prompts = [torch.arange(start + 3, start + 13) for start in range(4)]
for batch in DataLoader(prompts, batch_size=2, num_workers=1):
    with torch.no_grad():
        model(batch)
sys.exit(9)
