-- Algorithm of an NCCL kernel by its name: 'ring', 'tree', 'nvls', 'nvls_tree', 'collnet_direct', 'collnet_chain', 'pat'; NULL where
-- the name does not say. Since NCCL 2.19 (`ncclDevKernel_`) all but trees run in kernels that are called RING.
-- params: name
-- requires:
-- returns: VARCHAR  The algorithm.
SELECT CASE WHEN NOT regexp_matches(name, '^ncclDevKernel_.*_RING') THEN lower(nullif(regexp_extract(
    name, '_(RING|TREE|NVLS_TREE|NVLS|COLLNET_DIRECT|COLLNET_CHAIN|PAT)(?:_|$)', 1
), '')) END
