-- Protocol of an NCCL kernel by its name: 'll128', 'simple'; NULL where the name does not say. NCCL compiles kernels for LL alone, and
-- runs the other protocols in them, so that LL in a name tells nothing.
-- params: name
-- requires:
-- returns: VARCHAR  The protocol.
SELECT lower(nullif(regexp_extract(name, '_(LL128|SIMPLE)(?:_|$)', 1), ''))
