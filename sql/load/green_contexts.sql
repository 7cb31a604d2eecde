-- Green contexts of CUDA: they have a part of the SMs of their GPU. No export says which part.
-- Grain: process_id, cuda_device, context_id; empty before nsys 2024.2, and in traces of torch.profiler.
-- requires: nsys.TARGET_INFO_CUDA_CONTEXT_INFO
-- columns:
--   process_id  BIGINT  Operating-system pid.
--   cuda_device BIGINT  The number that the process uses for the GPU.
--   context_id  BIGINT  CUDA's number of the context, in the process.
SELECT DISTINCT processId AS process_id, deviceId AS cuda_device, contextId AS context_id
FROM nsys.TARGET_INFO_CUDA_CONTEXT_INFO
WHERE isGreenContext = 1
