-- Time that work takes several GPUs together, of the times that each would need for all of it: they share it as they are fast.
-- NULL where one of the times is not known.
-- params: times_ns, gpu_count
-- requires:
-- returns: DOUBLE  Unit: ns.
SELECT CASE
    WHEN len(list_filter(times_ns, lambda time_ns: time_ns IS NOT NULL)) < gpu_count THEN NULL
    WHEN list_min(times_ns) = list_max(times_ns) THEN list_min(times_ns) / gpu_count
    ELSE 1 / list_sum(list_transform(list_sort(times_ns), lambda time_ns: 1 / nullif(time_ns, 0)))
END
