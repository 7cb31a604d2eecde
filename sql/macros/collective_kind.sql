-- Which collective a communication kernel does, by its name: 'all_reduce', 'all_gather', 'reduce_scatter', 'all_to_all',
-- 'broadcast', 'reduce', 'send_recv'; NULL where the name does not say.
-- params: name
-- requires:
-- returns: VARCHAR  The collective.
SELECT CASE
    WHEN regexp_matches(name, 'all_?reduce|cross_device_reduce|one_?shot|two_?shot', 'i') THEN 'all_reduce'
    WHEN regexp_matches(name, 'all_?gather', 'i') THEN 'all_gather'
    WHEN regexp_matches(name, 'reduce_?scatter', 'i') THEN 'reduce_scatter'
    WHEN regexp_matches(name, 'all_?to_?all|dispatch|combine', 'i') THEN 'all_to_all'
    WHEN regexp_matches(name, 'broadcast', 'i') THEN 'broadcast'
    WHEN regexp_matches(name, 'send_?recv', 'i') THEN 'send_recv'
    WHEN regexp_matches(name, '_Reduce_|ncclReduce', '') THEN 'reduce'
END
