"""How long every loss takes, forward and backward, and how much memory, beside pytorch-metric-learning and plain forms.

    python experiments/benchmarks/losses.py                                          # B = 64, 512, 2,048
    python experiments/benchmarks/losses.py --batches 64 128 256 512 1024 2048 4096 8192 --json=out.json
    python experiments/benchmarks/losses.py --cases info_nce contrastive --threads=1
    python experiments/benchmarks/losses.py --cases attention_info_nce --batches 8192 --repeats=1
    python experiments/benchmarks/losses.py --cases attention_info_nce --limit_gib=0     # memory alone: only compiles

Value and gradients for random unit embeddings of 128 numbers, B queries and B gallery items; `attention_...` are CMIC's
scores with attention over 12 views. Rows beside jaxret's: 'merge first' is the same loss, in JAX too, from the whole
2B x 2B matrix of queries and gallery concatenated, then masked; 'all at once' the same without blocks of queries; the
others are named as pytorch-metric-learning does. `ratio` is their time over jaxret's, medians of runs that took turns:
above 1 jaxret is faster. `difference` is of the values, relative. A loss without an equivalent there says so, and so
does what would need more memory than --limit_gib (compiled programs: planned; theirs: a lower bound). `resident` is
the most that the process held so far.
"""

import gc
import importlib
import resource
import sys
from typing import Any

from measuring import (
    MIB,
    at_least,
    compiled_memory,
    find_peer,
    interleave,
    make_parser,
    parse,
    positive,
    ratios,
    show,
    write_json,
)

# isort: split
import jax
from loss_cases import CASES, PLAIN_FORMS, random_arrays

COLUMNS = (
    ('case', ''),
    ('batch', 'd'),
    ('form', ''),
    ('milliseconds', '.3f'),
    ('cpu_ms', '.3f'),
    ('ratio', '.2f'),
    ('cpu_ratio', '.2f'),
    ('temporary_mib', '.1f'),
    ('resident_mib', '.0f'),
    ('difference', '.1e'),
)


def compile_case(function: Any, batch: int) -> tuple[Any, dict[str, float]]:
    """Value and gradients of a case as a call without arguments, and its memory."""
    arrays, labels = random_arrays(batch)
    shapes = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, (arrays, labels)))
    used = _used(function, *shapes)
    own = {name: jax.device_put(arrays[name]) for name in used}
    labels = jax.device_put(labels)
    compiled = jax.jit(jax.value_and_grad(function)).lower(own, labels).compile()
    return lambda: jax.block_until_ready(compiled(own, labels))[0], compiled_memory(compiled)


def _used(function: Any, arrays: Any, labels: Any) -> list[str]:
    """Names of the arrays that a case looks at."""
    seen: set[str] = set()

    class Watched(dict):
        def __getitem__(self, name: str) -> Any:
            seen.add(name)
            return super().__getitem__(name)

    jax.eval_shape(lambda x, y: function(Watched(x), y), arrays, labels)
    return sorted(seen)


def forms(case: str, batch: int, *, limit_mib: float) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """What can be run, {form: call}, and what is known before, {form, or why it is not run: memory}."""
    calls, facts = {}, {}
    for form, function in (('jaxret', CASES[case]), *([PLAIN_FORMS[case]] if case in PLAIN_FORMS else ())):
        call, memory = compile_case(function, batch)
        if memory['temporary_mib'] <= limit_mib:
            calls[form], facts[form] = call, memory
        else:
            facts[f'{form}: needs {memory["temporary_mib"] / 1024:.1f} GiB'] = memory
    peers, missing = find_peer('pytorch_metric_learning')
    if peers is None:
        return calls, facts | {f'pytorch-metric-learning: {missing}': {}}
    pml = importlib.import_module('torch_peers.pml_losses')
    if case not in pml.PEERS:
        return calls, facts | {'pytorch-metric-learning: has no equivalent': {}}
    for peer in pml.PEERS[case]:
        if peer.numbers(batch) <= limit_mib * MIB:
            calls[peer.name], facts[peer.name] = pml.Step(peer, *random_arrays(batch)), {}
        else:
            facts[f'{peer.name}: needs {peer.numbers(batch) / 2**30:.1f} GiB or more'] = {}
    return calls, facts


def measure(case: str, batch: int, *, repeats: int, limit_mib: float) -> list[dict[str, Any]]:
    """Rows of jaxret, of the plain form and of the peers."""
    calls, facts = forms(case, batch, limit_mib=limit_mib)
    values = {form: float(call()) for form, call in calls.items()}
    times = interleave(calls, repeats=repeats)
    rows = []
    for form, fact in facts.items():
        row = {'case': case, 'batch': batch, 'form': form} | fact
        if form in times:
            row |= {
                'milliseconds': times[form]['seconds'] * 1e3,
                'cpu_ms': times[form]['cpu_seconds'] * 1e3,
                'value': values[form],
                'resident_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            if form != 'jaxret' and 'jaxret' in times:
                row |= ratios(times[form], times['jaxret'])
                row['difference'] = abs(values[form] - values['jaxret']) / max(abs(values['jaxret']), 1e-12)
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument(
        '--batches', type=positive, nargs='+', default=[64, 512, 2048], help='queries, and gallery items'
    )
    parser.add_argument(
        '--cases',
        nargs='+',
        default=list(CASES),
        choices=list(CASES),
        metavar='CASE',
        help=f'some of {", ".join(CASES)}',
    )
    parser.add_argument('--limit_gib', type=at_least(0, float), default=4.0, help='what needs more is not run')
    known, _, cores = parse(parser, arguments)
    rows = []
    for case in known.cases:
        for batch in known.batches:
            rows += measure(case, batch, repeats=known.repeats, limit_mib=known.limit_gib * 1024)
            gc.collect()
        print(f'{case}: measured', flush=True)
    show(f'losses, forward and backward, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Losses: jaxret, plain forms, pytorch-metric-learning', arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
