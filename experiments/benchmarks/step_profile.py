"""Where a compiled step spends its time: its operations in a profile, grouped by what they were written as."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

_METADATA = re.compile(r'%?([\w.\-]+) = .*metadata=\{.*?op_name="([^"]*)"')


def largest_costs(call: Callable[[], Any], program: str, *, calls: int = 3, count: int = 3) -> list[dict[str, Any]]:
    """The groups of operations that take longest.

    Args:
      call: one step of a program that is compiled and warm; waits for its result.
      program: its text, `compiled.as_text()`, which says where every operation comes from.
      calls: steps in the profile.
      count: groups to name.

    Returns:
      For each group its name ('backward conv_general_dilated'), milliseconds a step, and share of all operations' time;
      none where the profile names no operation of the program.
    """
    written = operations(program)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                call()
        spent = Counter()
        for path in Path(folder).rglob('*.xplane.pb'):
            spent += operation_times(path, written)
    total = sum(spent.values())
    return [
        {'cost': name, 'milliseconds': nanoseconds / 1e6 / calls, 'share': nanoseconds / total}
        for name, nanoseconds in spent.most_common(count)
    ]


def operations(program: str) -> dict[str, str]:
    """{name of an operation: the group that it belongs to} of a compiled program's text."""
    return {name: group(path) for name, path in _METADATA.findall(program)}


def group(path: str) -> str:
    """'backward conv_general_dilated' for the path 'jit(step)/transpose(jvp(Encoder))/conv1/conv_general_dilated'."""
    primitive = path.rsplit('/', 1)[-1]
    if 'transpose(' in path:
        return f'backward {primitive}'
    return f'forward {primitive}' if 'jvp(' in path else primitive


def operation_times(path: Path, written: Mapping[str, str]) -> Counter:
    """Nanoseconds by group in one profile: of the kernels of a GPU where there is one, else of threads.

    A kernel whose operation the profile does not tell, such as one inside a CUDA graph, is a group by itself.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    streams = [
        line
        for plane in planes
        if plane.name.startswith('/device:GPU')
        for line in plane.lines
        if line.name.startswith('Stream')
    ]
    spent = Counter()
    for line in streams or [line for plane in planes for line in plane.lines]:
        for event in line.events:
            name = dict(event.stats).get('hlo_op') or event.name
            if name in written:
                spent[written[name]] += event.duration_ns
            elif streams:
                spent[f'kernel {event.name[:60]}'] += event.duration_ns
    return spent
