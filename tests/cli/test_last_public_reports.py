"""More of what test_public_reports.py has: twelve reports, chosen before llmperf was asked.

Training:
1. https://github.com/deepspeedai/DeepSpeed/issues/2565 : FLOPs of one GPU of a tensor-parallel GPT, 13 instead of 125 TFLOP/s
2. https://github.com/deepspeedai/Megatron-DeepSpeed/pull/445 : FLOPs of experts as if each token had one
3. https://github.com/pytorch/torchtitan/issues/2983 : tokens times the degree of context parallelism
4. https://github.com/facebookresearch/HolisticTraceAnalysis/issues/241 : NCCL has 0.2 % of the time instead of 10 %
5. https://github.com/pytorch/pytorch/issues/60783 : GPU time of an operator counted in its wrapper, too
6. https://github.com/NVIDIA-NeMo/Automodel/pull/3569 : MFU of another peak than the one that was asked for

Inference:
7. https://github.com/sgl-project/sglang/pull/5149 : a benchmark of experts in which all prompts are alike
8. https://github.com/ai-dynamo/aiconfigurator/pull/1390 : weights of all experts on each GPU of expert parallelism
9. https://github.com/NVIDIA/TensorRT-LLM/issues/355 : padding behind the end of a sequence counted as output tokens
10. https://github.com/modelscope/ms-swift/pull/10094 : padding before a short prompt counted as its tokens (transformers)
11. https://github.com/ray-project/ray/issues/56366 : kernels of vLLM's workers whose thread has no CPU events (Kineto)
12. https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1862 : KV cache of hybrid models as if each layer had one
"""
