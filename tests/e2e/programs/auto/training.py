"""Two steps of training, and an evaluation."""

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
model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **config)).train()
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(2):
    tokens = torch.randint(3, 256, (2, 16))
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
with torch.no_grad():
    model.eval()(input_ids=tokens, labels=tokens)
