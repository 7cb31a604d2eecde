"""Images and text."""

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

config = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "pad_token_id": 0,
    "eos_token_id": None,
}
vision = CLIPVisionConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    image_size=28,
    patch_size=14,
    projection_dim=32,
)
text = LlamaConfig(num_hidden_layers=2, **config)
model = LlavaForConditionalGeneration(
    LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=250,
        image_seq_length=5,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
).eval()
model.generation_config.pad_token_id = 0
prompt = torch.cat([torch.full((1, 5), 250), torch.randint(3, 200, (1, 7))], 1)
images = torch.randn(1, 3, 28, 28)
model.generate(input_ids=prompt, pixel_values=images, max_new_tokens=3, do_sample=False)
