-- A process of the job in words, for sentences: 'rank 3', or 'process 4711' where nothing says its rank.
-- params: rank_number, process_key
-- requires:
-- returns: VARCHAR  Never NULL for a process.
SELECT coalesce('rank ' || rank_number, 'process ' || (process_key & 16777215))
