"""vLLM's LLM class with prompts whose chunks, cached prefixes and batches follow from the limits that it is given.

vllm_llm.py MODEL
"""

import sys

from vllm import LLM, SamplingParams

CHUNK = 64  # tokens of a step
BLOCK = 32  # tokens of a block of the prefix cache


def main():
    llm = LLM(
        sys.argv[1], load_format="dummy", dtype="bfloat16", enforce_eager=True, max_model_len=256, max_num_seqs=4,
        max_num_batched_tokens=CHUNK, block_size=BLOCK, enable_prefix_caching=True, seed=0,
    )  # fmt: skip

    def ask(prompts, new):
        tokens = [{"prompt_token_ids": prompt} for prompt in prompts]
        llm.generate(tokens, SamplingParams(max_tokens=new, ignore_eos=True, temperature=0), use_tqdm=False)

    long = [5 + index % 200 for index in range(150)]
    ask([long], 4)
    # four blocks of it are in the cache
    ask([long], 3)
    # the second prompt takes two steps, whether it comes with the first or after it
    ask([[7 + index % 190 for index in range(20)], [11 + index % 180 for index in range(100)]], 5)


if __name__ == "__main__":
    main()
