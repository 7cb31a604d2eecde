-- Name of a function with its scopes, without return type, template arguments and parameters, from its demangled name.
-- Algorithm: `<…>` is taken out from the inside outwards, twelve levels deep; what lies deeper is cut off.
-- params: full_name
-- requires:
-- returns: VARCHAR  As in `flashinfer::norm::RMSNormKernel`; an unnamed namespace is called `unnamed`.
SELECT regexp_extract(
    list_reduce(
        list_prepend(
            regexp_replace(
                replace(replace(full_name, '<unnamed>', 'unnamed'), '(anonymous namespace)', 'unnamed'),
                '->|operator *[<>]+', '', 'g'
            ),
            ['', '', '', '', '', '', '', '', '', '', '', '']
        ),
        lambda outer_name, level: regexp_replace(outer_name, '<[^<>]*>', '', 'g')
    ),
    '^(?:[^(<]*[ *&])?([^ (<*&]+)', 1
)
