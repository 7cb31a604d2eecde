"""Speculative decoding: a small model guesses, the large one verifies."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

config = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "pad_token_id": 0,
    "eos_token_id": None,
}
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **config)).eval()
draft = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **config)).eval()
prompt = torch.randint(3, 256, (1, 9))
print(model.generate(prompt, assistant_model=draft, max_new_tokens=8, do_sample=False).shape)
