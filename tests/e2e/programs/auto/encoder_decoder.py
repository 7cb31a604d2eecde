"""Two stacks."""

import torch
from transformers import T5Config, T5ForConditionalGeneration

config = T5Config(
    d_model=32,
    d_kv=8,
    d_ff=64,
    num_layers=2,
    num_heads=4,
    vocab_size=100,
    decoder_start_token_id=0,
    eos_token_id=None,
    pad_token_id=0,
)
model = T5ForConditionalGeneration(config).eval()
print(model.generate(torch.randint(3, 100, (2, 11)), max_new_tokens=3, do_sample=False).shape)
