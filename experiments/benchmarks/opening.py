"""How long it takes to open an index, and until all of it is read and checked, which goes on beside.

    python experiments/benchmarks/opening.py                       # 10,000 and 100,000 shapes x 12 views x 16
    python experiments/benchmarks/opening.py --shapes 1000000 --repeats=3 --json=out.json   # 2.5 GB on the disk
    python experiments/benchmarks/opening.py --shapes 100000 --width=128

Random embeddings; files are in the system's memory, as they were just written. `whole` is from the call until all
embeddings are in memory, compared with their checksums.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import MIB, describe_devices, make_parser, parse, positive, show, write_json

# isort: split
import numpy as np
from growth_indexes import WIDTH, write_index

from jaxret.index.index import Index

COLUMNS = (('shapes', ',d'), ('embeddings_mib', '.0f'), ('open_ms', '.0f'), ('whole_s', '.2f'), ('whole_cpu_s', '.2f'))


def measure(shapes: int, width: int, repeats: int) -> dict[str, Any]:
    """A row: medians."""
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder), shapes, width)
        for _ in range(repeats):
            started, processor = time.perf_counter(), time.process_time()
            with Index.open(folder) as index:
                opened = time.perf_counter() - started
                size = index.gallery.embeddings.nbytes
                samples.append([opened * 1e3, time.perf_counter() - started, time.process_time() - processor])
    names = ('open_ms', 'whole_s', 'whole_cpu_s')
    return {'shapes': shapes, 'embeddings_mib': size / MIB, **dict(zip(names, np.median(samples, axis=0), strict=True))}


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument('--shapes', type=positive, nargs='+', default=[10_000, 100_000])
    parser.add_argument('--width', type=positive, default=WIDTH, help='numbers an embedding')
    known, _, cores = parse(parser, arguments)
    rows = [measure(shapes, known.width, known.repeats) for shapes in known.shapes]
    title = f'opening an index, {describe_devices()}, {cores} cores'
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
