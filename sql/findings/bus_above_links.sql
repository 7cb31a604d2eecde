-- Collectives whose bus bandwidth, as nccl-tests counts it, is more than the GPU's NVLink carries in one direction. That counts what a ring
-- or a tree sends; a switch that adds up (NVLS, SHARP) needs less, and no kernel's name tells. Below the limit it may be so, too.
-- Grain: phase, kind, name.
-- severity: warning
-- message: {name} in {place} has a bus bandwidth of {bus} GB/s, {percent} % of the GPU's NVLink in one direction: a switch adds up for the GPUs (NVLS),
--   and their links carry less than nccl-tests counts, or NCCL states other sizes
-- hint: `of NVLink` is left out; to compare it with the links record with NCCL_NVLS_ENABLE=0, as a ring sends what is counted
-- concerns: views.collective_summary
-- empty without: estimate.collective_totals
-- requires: estimate.collective_totals
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  NULL: no time is wrong. Unit: ns.
--   name        VARCHAR Short kernel name.
--   place       VARCHAR The phase in a sentence.
--   bus         VARCHAR Bus bandwidth in GB/s.
--   percent     VARCHAR The same in per cent of the link's.
SELECT
    phase, NULL::BIGINT AS at_stake_ns, name, coalesce(phase, 'what is outside every phase') AS place,
    format('{:.1f}', bus_bytes_per_s / 1e9) AS bus, format('{:.0f}', 100 * bus_bytes_per_s / link_bytes_per_s) AS percent
FROM estimate.collective_totals
WHERE bus_bytes_per_s > link_bytes_per_s
