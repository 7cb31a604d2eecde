-- Which GPU of the machine a process means by a CUDA device number. They differ under CUDA_VISIBLE_DEVICES.
-- Grain: process_id, cuda_device; empty before nsys 2025.1, whose exports give GPU rows the CUDA number alone.
-- requires: nsys.TARGET_INFO_CUDA_DEVICE
-- columns:
--   process_id  BIGINT  Operating-system pid.
--   cuda_device BIGINT  The number the process uses.
--   device_id   BIGINT  The GPU's number on the machine.
SELECT pid AS process_id, cudaId AS cuda_device, min(gpuId) AS device_id
FROM nsys.TARGET_INFO_CUDA_DEVICE
WHERE pid IS NOT NULL AND cudaId IS NOT NULL
GROUP BY pid, cudaId
