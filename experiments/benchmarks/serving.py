"""How `jaxret serve` stands many clients at once: requests lost, time, memory of the server.

    python experiments/benchmarks/serving.py --index=models.index --photos=DIR
    python experiments/benchmarks/serving.py --index=models.index --photos=DIR --clients=500 --rounds=5

All clients ask at the same moment, each with one photo of the folder (any depth; with fewer photos, some twice), then
all again. Beside the time by the clock stands the server's of the processor; memory is its largest resident size.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2
from measuring import positive  # before machine: it makes it importable

# isort: split
from machine import machine

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Starts a server, asks it, and ends it; returns 1 where it does not start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--index', type=Path, required=True)
    parser.add_argument('--photos', type=Path, required=True)
    parser.add_argument('--clients', type=positive, default=200)
    parser.add_argument('--rounds', type=positive, default=3)
    options = parser.parse_args(arguments)
    photos = sorted(path for path in options.photos.rglob('*') if path.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    if not photos:
        parser.error(f'{options.photos}: no photos')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        '-m',
        'jaxret.cli.main',
        'serve',
        f'--index={options.index.absolute()}',
        f'--port={port}',
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            print(machine())
            if not (said := server.stdout.readline().strip()):
                return 1  # the server has said why
            print(said)
            asyncio.run(ask(f'http://127.0.0.1:{port}', server.pid, photos, options.clients, options.rounds))
        finally:
            server.terminate()
    return 0


async def ask(address: str, process: int, photos: list[Path], clients: int, rounds: int) -> None:
    """Prints a line a round."""
    uploads = [
        (photos[number % len(photos)].name, photos[number % len(photos)].read_bytes()) for number in range(clients)
    ]
    print(
        f'{clients} clients, {sum(len(content) for _, content in uploads) / 2**20:.1f} MiB of photos; '
        f'server before: {memory(process)} MiB'
    )
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, timeout=3600, limits=limits) as client:
        for number in range(rounds):
            started, worked = time.monotonic(), processor_seconds(process)
            answers = await asyncio.gather(
                *[client.post('/search', files={'file': upload}) for upload in uploads], return_exceptions=True
            )
            kinds = Counter(
                type(answer).__name__ if isinstance(answer, Exception) else answer.status_code for answer in answers
            )
            print(
                f'round {number + 1}: {dict(kinds)}, {time.monotonic() - started:.1f} s by the clock, '
                f'{processor_seconds(process) - worked:.1f} s of the processor, at most {memory(process)} MiB'
            )


def memory(process: int) -> int:
    """Largest resident size so far, MiB."""
    status = Path(f'/proc/{process}/status').read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmHWM')) // 1024


def processor_seconds(process: int) -> float:
    """User and system time so far."""
    fields = Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
    sys.exit(main())
