-- Protocol of an NCCL kernel by its name: 'll', 'll128', 'simple'; NULL where the name does not say. NCCL compiles one kernel for
-- several protocols and names it after one of them, so a large message may be sent by another one.
-- params: name
-- requires:
-- returns: VARCHAR  The protocol.
SELECT lower(nullif(regexp_extract(name, '_(LL128|LL|SIMPLE)(?:_|$)', 1), ''))
