"""Two ranks that know nothing of llmperf: each generates, then they add something up."""

import os

import torch
import torch.distributed as dist
from transformers import LlamaConfig, LlamaForCausalLM

has_gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpus else torch.device("cpu")
dist.init_process_group("nccl" if has_gpus else "gloo", device_id=device if has_gpus else None)
config = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=256,
)
model = LlamaForCausalLM(config).to(device).eval()
prompt = torch.randint(0, 256, (1, 8 + dist.get_rank()), device=device)
model.generate(prompt, max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=0)
total = torch.ones(1, device=device)
dist.all_reduce(total)
print("ranks:", int(total), flush=True)
dist.destroy_process_group()
