-- The unsigned number of four bytes that begins at byte `first_byte`, the lowest byte first.
-- params: digits, first_byte
-- returns: UINTEGER  NULL where the bytes end before it does; `digits` are two hexadecimal ones for each byte.
SELECT TRY_CAST(
    nullif(
        '0x' || substr(digits, 2 * first_byte + 7, 2) || substr(digits, 2 * first_byte + 5, 2) || substr(digits, 2 * first_byte + 3, 2)
            || substr(digits, 2 * first_byte + 1, 2),
        '0x'
    ) AS UINTEGER
)
