-- Wall time that can have held the GPU's work; NULL where the GPU was busy for longer than ranges were open, because launches
-- ran ahead of it: then wall time says nothing about the GPU.
-- params: wall_ns, busy_ns, open_ns
-- requires:
-- returns: BIGINT  wall_ns or NULL. Unit: ns.
SELECT CASE WHEN busy_ns <= open_ns THEN wall_ns END
