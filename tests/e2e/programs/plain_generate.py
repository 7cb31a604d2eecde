"""An ordinary generate script: it knows nothing of llmperf."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
config = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=256,
)
model = LlamaForCausalLM(config).to(device).eval()
prompt = torch.randint(0, 256, (3, 10), device=device)
tokens = model.generate(prompt, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
print("tokens:", tuple(tokens.shape))
