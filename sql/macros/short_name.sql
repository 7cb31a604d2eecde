-- Name of a kernel without return type, scopes, template arguments and parameters, from its demangled name.
-- params: full_name
-- requires: macros.function_name
-- returns: VARCHAR  The last part of the name, as nsys' own short names have it.
SELECT regexp_extract(macros.function_name(full_name), '([^:]+)$', 1)
