-- Name of a kernel without return type, scopes, template arguments and parameters, from its demangled name.
-- Algorithm: `<…>` is taken out from the inside outwards, nine levels deep; deeper templates keep a rest.
-- params: full_name
-- requires:
-- returns: VARCHAR  The last part of the name, as nsys' own short names have it.
SELECT regexp_extract(
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        regexp_replace(regexp_replace(regexp_replace(
            full_name, '<unnamed>', 'unnamed', 'g'), '->|operator *[<>]+', '', 'g'), '<[^<>]*>', '', 'g'),
        '<[^<>]*>', '', 'g'), '<[^<>]*>', '', 'g'), '<[^<>]*>', '', 'g'), '<[^<>]*>', '', 'g'), '<[^<>]*>', '', 'g'),
        '<[^<>]*>', '', 'g'), '<[^<>]*>', '', 'g'),
    '^(?:[^(]*(?:::|[ *&]))?([^ :(*&]+)', 1)
