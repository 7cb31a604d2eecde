"""The sweep over all operations of all GPUs sorts once, and streams: with several threads, over many blocks of rows."""

from __future__ import annotations

import duckdb

from nsys_pipeline.sqlmods import all_modules

OPS = 150_000
DEVICES = 3

# Operations come in no order, some start together, a few run long, and GPU 1 has work before its first slot.
WORK = f"""
CREATE TABLE attribute.gpu_work AS
SELECT
    i AS op_id, 'kernel' AS kind, i % {DEVICES} AS device_id, at_ns AS start_ns,
    at_ns + 1 + hash(i) % CASE WHEN i % 1000 = 0 THEN 90000 ELSE 150 END::BIGINT AS end_ns,
    1 AS name_id, 1 AS full_name_id, i % 7 AS occurrence_id, 1 AS global_tid, at_ns - 50 AS launch_start_ns,
    at_ns - 40 AS launch_end_ns
FROM (SELECT i, 1000 + (hash(i + 1) % {20 * OPS})::BIGINT AS at_ns FROM range({OPS}) AS r(i))
"""
SLOTS = """
CREATE TABLE attribute._window_slots AS
SELECT device_id, slot::UINTEGER AS slot, start_ns, lead(start_ns) OVER (PARTITION BY device_id ORDER BY slot) AS end_ns
FROM (
    SELECT 1 + 50 * d + i AS slot, d AS device_id, 500 + 100000 * (d = 1)::BIGINT + i * 90001 AS start_ns
    FROM range(3) AS a(d), range(50) AS b(i)
)
"""
EXPECTED = """
SELECT
    w.device_id, w.op_id,
    coalesce(
        max(w.end_ns) OVER (
            PARTITION BY w.device_id ORDER BY w.start_ns, w.op_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ),
        (SELECT min(start_ns) FROM attribute._window_slots AS s WHERE s.device_id = w.device_id)
    ) AS reach_ns,
    (
        SELECT max(slot) FROM attribute._window_slots AS s WHERE s.device_id = w.device_id AND s.start_ns <= w.start_ns
    ) AS slot
FROM attribute.gpu_work AS w
"""


def test_sweep_is_that_of_a_window_for_each_gpu() -> None:
    with duckdb.connect() as con:
        con.execute("SET threads = 4; SET preserve_insertion_order = false; CREATE SCHEMA attribute")
        con.execute(WORK)
        con.execute(SLOTS)
        con.execute("CREATE TABLE attribute.kernel_families(name_id BIGINT, full_name_id BIGINT, family VARCHAR)")

        con.execute(f"CREATE TABLE found AS {all_modules()['attribute._device_order'].sql}")

        rows = con.execute("SELECT count(*), count(end_ns) FROM found").fetchall()
        assert rows == [(OPS + DEVICES, OPS)]
        different = con.execute(
            "SELECT device_id, start_ns, end_ns, reach_ns, slot FROM found WHERE end_ns IS NOT NULL "
            "EXCEPT ALL "
            "SELECT device_id, start_ns, end_ns, reach_ns, slot "
            f"FROM ({EXPECTED}) JOIN attribute.gpu_work USING (device_id, op_id)"
        ).fetchall()
        assert different == []
