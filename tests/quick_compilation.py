"""The environment in which a test's programs, which run once, are compiled in a quarter of the time: also subprocesses.

The environment only counts before JAX starts. Flags of XLA are those of one release; an unknown one ends the process.
"""

from importlib.metadata import version

_QUICK = ' --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'


def quick_compilation(devices: int = 1) -> dict[str, str]:
    """Variables for one process with so many simulated devices."""
    quick = _QUICK if version('jaxlib').startswith('0.10.') else ''
    return {
        'JAX_PLATFORMS': 'cpu',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}{quick}',
    }
