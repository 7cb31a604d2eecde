-- The unsigned number of eight bytes that begins at byte `first_byte`, the lowest byte first.
-- params: digits, first_byte
-- requires: macros.little_endian
-- returns: BIGINT  NULL where the bytes end before it does, or where it is larger than a BIGINT.
SELECT TRY_CAST(
    macros.little_endian(digits, first_byte)::HUGEINT + macros.little_endian(digits, first_byte + 4)::HUGEINT * 4294967296 AS BIGINT
)
