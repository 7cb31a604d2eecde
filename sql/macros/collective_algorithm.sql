-- Algorithm of an NCCL kernel by its name: 'ring', 'tree', 'nvls', 'nvls_tree', 'collnet_direct', 'collnet_chain', 'pat'; NULL where
-- the name does not say.
-- params: name
-- requires:
-- returns: VARCHAR  The algorithm.
SELECT lower(nullif(regexp_extract(name, '_(RING|TREE|NVLS_TREE|NVLS|COLLNET_DIRECT|COLLNET_CHAIN|PAT)(?:_|$)', 1), ''))
