-- How each kernel was launched: grid, block, registers, shared and local memory.
-- Grain: op_id.
-- requires: nsys.KERNEL_LAUNCH_CONFIG
-- columns:
--   op_id                  BIGINT  Joins load.gpu_ops.
--   grid_x                 BIGINT  Blocks of the grid along x.
--   grid_y                 BIGINT  Blocks of the grid along y.
--   grid_z                 BIGINT  Blocks of the grid along z.
--   block_x                BIGINT  Threads of a block along x.
--   block_y                BIGINT  Threads of a block along y.
--   block_z                BIGINT  Threads of a block along z.
--   registers_per_thread   BIGINT  Registers of each thread.
--   static_shared_bytes    BIGINT  Shared memory that the kernel declares, per block. Unit: bytes.
--   dynamic_shared_bytes   BIGINT  Shared memory that the launch asks for, per block. Unit: bytes.
--   local_bytes_per_thread BIGINT  Local memory of each thread. Unit: bytes.
SELECT
    row_id * 8 AS op_id, gridX AS grid_x, gridY AS grid_y, gridZ AS grid_z, blockX AS block_x, blockY AS block_y,
    blockZ AS block_z, registersPerThread AS registers_per_thread, staticSharedMemory AS static_shared_bytes,
    dynamicSharedMemory AS dynamic_shared_bytes, localMemoryPerThread AS local_bytes_per_thread
FROM nsys.KERNEL_LAUNCH_CONFIG
