-- One row per kernel: what it is, whose it is, when it ran, and how it was launched.
-- Grain: op_id. Launched outside every phase: phase and occurrence_id are NULL and reason says why.
-- requires: views.gpu_work, attribute.gpu_work, load.strings, load.launch_configs
-- columns:
--   op_id                  BIGINT   The kernel. Joins gpu_work.
--   name                   VARCHAR  Short kernel name.
--   full_name              VARCHAR  Demangled kernel name with its template arguments.
--   family                 VARCHAR  What kind of work it is: 'gemm', 'attention', 'norm', …
--   phase                  VARCHAR  Name of the phase, or NULL.
--   occurrence_id          BIGINT   The occurrence. Joins phases.
--   occurrence             BIGINT   Its number within the phase: 0, 1, 2, … by start.
--   is_warmup              BOOLEAN  Whether the occurrence is inside warm-up, NULL outside every phase.
--   is_cold                BOOLEAN  Whether the occurrence is cold, NULL outside every phase: see phases.
--   range_id               BIGINT   Innermost push/pop range around the launch. Joins nvtx_ranges.
--   range_name             VARCHAR  Its text.
--   process_id             BIGINT   Operating-system pid. Joins processes.
--   thread_id              BIGINT   Operating-system tid of the launching thread, NULL where the launch was not recorded.
--   device_id              BIGINT   GPU. Joins devices.
--   stream_id              BIGINT   CUDA stream.
--   start_ns               BIGINT   Start on the GPU. Unit: ns.
--   end_ns                 BIGINT   End on the GPU. Unit: ns.
--   dur_ns                 BIGINT   end_ns - start_ns. Unit: ns.
--   api_id                 BIGINT   The launching call. Joins api_calls.
--   launch_start_ns        BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns          BIGINT   Return of the launching call. Unit: ns.
--   launch_latency_ns      BIGINT   start_ns - launch_end_ns: negative where the kernel started before the call returned,
--                                   NULL where its times were not recorded. Unit: ns.
--   graph_node_id          BIGINT   Graph << 32 | node when it ran inside a CUDA graph, else NULL.
--   grid_x                 BIGINT   Blocks of the grid along x.
--   grid_y                 BIGINT   Blocks of the grid along y.
--   grid_z                 BIGINT   Blocks of the grid along z.
--   block_x                BIGINT   Threads of a block along x.
--   block_y                BIGINT   Threads of a block along y.
--   block_z                BIGINT   Threads of a block along z.
--   registers_per_thread   BIGINT   Registers of each thread.
--   static_shared_bytes    BIGINT   Shared memory that the kernel declares, per block. Unit: bytes.
--   dynamic_shared_bytes   BIGINT   Shared memory that the launch asks for, per block. Unit: bytes.
--   local_bytes_per_thread BIGINT   Local memory of each thread. Unit: bytes.
--   method                 VARCHAR  How the phase was found: see gpu_work.
--   reason                 VARCHAR  Why there is no phase: see gpu_work.
SELECT
    g.op_id, g.name, long.value AS full_name, g.family, g.phase, g.occurrence_id, g.occurrence, g.is_warmup, g.is_cold,
    g.range_id, g.range_name, g.process_id, g.thread_id, g.device_id, g.stream_id, g.start_ns, g.end_ns, g.dur_ns,
    g.api_id, g.launch_start_ns, g.launch_end_ns, g.launch_latency_ns, g.graph_node_id,
    c.grid_x, c.grid_y, c.grid_z, c.block_x, c.block_y, c.block_z, c.registers_per_thread, c.static_shared_bytes,
    c.dynamic_shared_bytes, c.local_bytes_per_thread,
    g.method, g.reason
FROM views.gpu_work AS g
JOIN attribute.gpu_work AS w USING (op_id)
LEFT JOIN load.strings AS long ON long.string_id = w.full_name_id
LEFT JOIN load.launch_configs AS c USING (op_id)
WHERE g.kind = 'kernel'
