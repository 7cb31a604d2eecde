-- Whether a kernel of the family attention only schedules, splits or combines what another one attends to. By its name; kernels of
-- CUTLASS share one, and what each does is its first template argument, which may be wrapped.
-- params: kernel_name, full_name
-- returns: BOOLEAN  Not NULL.
SELECT coalesce(regexp_matches(kernel_name, '(?i)combine|merge|reduc|schedul|metadata|prepare|preprocess|convert'), false)
    OR coalesce(regexp_matches(full_name, 'device_kernel<(?:[\w:]+<)?[\w:]*(?:Combine|Preprocess|Postprocess|Reduc)'), false)
