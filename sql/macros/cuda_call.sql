-- The name that CUDA's runtime has for a call of HIP, which traces of AMD's GPUs hold: 'cudaLaunchKernel' for 'hipExtModuleLaunchKernel'.
-- params: name
-- requires:
-- returns: VARCHAR  Any other name as it is.
SELECT CASE WHEN starts_with(name, 'hip')
    THEN regexp_replace(
        regexp_replace(regexp_replace(name, '^hip(Ext)?(Module)?Launch', 'cudaLaunch'), '^hipHost(Malloc|Free)', 'cuda\1'),
        '^hip', 'cuda'
    )
    ELSE name
END
