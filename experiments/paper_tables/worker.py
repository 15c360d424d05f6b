"""A process that runs the commands of run.py that it is given, one after the other: it starts and imports once.

It reads a line of JSON a run from standard input, {"arguments": [...], "log": path}, adds what the run prints to the
log, and answers on standard output with {"status", "processor_seconds", "memory"}: the exit status, the processor time
of this process and its children since the answer before (the first has the imports), the most bytes it has held. Where
nobody is left to read that, the run under way saves and ends as by SIGTERM. Run by path (`workers.Worker`).
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import threading
import traceback
from pathlib import Path

RUN = Path(__file__).parents[1] / 'run.py'


def _status_of(arguments: list[str]) -> int:
    """Exit status of run.py; 1 after an error that it does not know, whose traceback goes to the log."""
    import run

    sys.argv = [str(RUN), *arguments]  # which reports name
    try:
        return run.main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def _end_with_reader() -> None:
    pipe = select.poll()
    pipe.register(0, 0)  # that the other end is closed is told in any case
    pipe.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def serve() -> None:
    """Answers until standard input ends."""
    threading.Thread(target=_end_with_reader, daemon=True).start()
    sys.path.insert(0, str(RUN.parent))
    answers, before = os.dup(1), 0.0
    os.dup2(2, 1)  # what is printed between runs
    for line in sys.stdin:
        asked = json.loads(line)
        log = os.open(asked['log'], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        status = _status_of(asked['arguments'])
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        now, memory = _processor_seconds(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer = {'status': status, 'processor_seconds': round(now - before, 1), 'memory': memory}
        before = now
        with contextlib.suppress(BrokenPipeError):
            os.write(answers, json.dumps(answer).encode() + b'\n')


if __name__ == '__main__':
    serve()
