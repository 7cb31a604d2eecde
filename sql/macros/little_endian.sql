-- The unsigned number of four bytes that begins at byte `first_byte`, the lowest byte first.
-- params: digits, first_byte
-- returns: UINTEGER  NULL where not all of its bytes are there; `digits` are two hexadecimal ones for each byte.
SELECT CASE
    WHEN first_byte BETWEEN 0 AND length(digits) // 2 - 4
        THEN TRY_CAST(
            '0x' || substr(digits, 2 * first_byte + 7, 2) || substr(digits, 2 * first_byte + 5, 2)
                || substr(digits, 2 * first_byte + 3, 2) || substr(digits, 2 * first_byte + 1, 2) AS UINTEGER
        )
END
