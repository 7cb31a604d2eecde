"""Left-padded prompts, beams, a static cache, a compiled forward pass: one after the other."""

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
model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **config)).eval()
prompt = torch.randint(3, 256, (3, 12))
prompt[0, :5] = 0
settings = {"attention_mask": (prompt != 0).long(), "max_new_tokens": 3, "do_sample": False}
model.generate(prompt, **settings)
model.generate(prompt, num_beams=2, **settings)
model.generate(prompt, cache_implementation="static", **settings)
model.forward = torch.compile(model.forward, backend="aot_eager")
model.generate(prompt, **settings)
