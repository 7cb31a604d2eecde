"""What engines store in their caches whatever the options say."""

from __future__ import annotations

from tests.cli.public_reports.common import decoding, marked
from tests.cli.run import Cli


def test_keys_of_an_indexer_are_packed_by_engines(cli: Cli) -> None:
    config = {
        "model_type": "deepseek_v32", "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 128,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 3, "q_lora_rank": 64,
        "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "vocab_size": 1000,
        "index_topk": 4096, "index_head_dim": 128, "index_n_heads": 4, "torch_dtype": "bfloat16",
    }  # fmt: skip
    found = {}
    for framework in ("transformers", "vllm", "sglang"):
        trace = decoding("gemm")
        marked(trace, config, framework=framework)
        (row,), _ = cli.sql(trace, "SELECT bytes FROM phase_summary")
        found[framework] = row["bytes"]

    # 2,048 keys are read and one is written for each of 32 sequences and 3 layers: 128 values in 16 bits, or in 8 and a
    # scale of 32.
    assert found["transformers"] - found["vllm"] == 3 * 32 * 2049 * (2 * 128 - (128 + 4))
    assert found["sglang"] == found["vllm"]
