"""A model that generates, an encoder of text, and another model that generates."""

import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

config = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "pad_token_id": 0,
    "eos_token_id": None,
}
small = {"vocab_size": 100, "eos_token_id": None, "bos_token_id": 1, "pad_token_id": 0}
llama = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **config)).eval()
bert = BertModel(
    BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, vocab_size=100)
).eval()
gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, **small)).eval()
settings = {"max_new_tokens": 2, "do_sample": False}
llama.generate(torch.randint(3, 256, (1, 5)), **settings)
with torch.no_grad():
    bert(torch.randint(3, 100, (2, 7)))
gpt2.generate(torch.randint(3, 100, (1, 4)), **settings)
