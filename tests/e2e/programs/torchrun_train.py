"""Two ranks that know nothing of llmperf train a model: DistributedDataParallel over gloo, with checkpointing."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

dist.init_process_group("gloo")
torch.set_num_threads(1)
torch.manual_seed(0)
config = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=256,
)
model = LlamaForCausalLM(config).train()
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
parallel = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(parallel.parameters(), lr=1e-3)
for _ in range(3):
    tokens = torch.randint(0, 256, (2, 16 + 16 * dist.get_rank()))
    parallel(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
first = next(parallel.parameters()).detach().sum().reshape(1)
both = [torch.zeros(1), torch.zeros(1)]
dist.all_gather(both, first)
print("the same weights:", bool(torch.equal(*both)), flush=True)
dist.destroy_process_group()
