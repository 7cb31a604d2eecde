"""A batch in `generate` whose sequences end one by one; it says how many tokens each wrote."""

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
ends = list(range(3, 60))
prompt = torch.randint(100, 256, (4, 10), device=device)
made = model.generate(prompt, max_new_tokens=12, do_sample=True, eos_token_id=ends, pad_token_id=0).tolist()
print("written:", *(1 + next((at for at, token in enumerate(row[10:]) if token in ends), 11) for row in made))
