"""TensorBoard scalars (through TensorFlow, which is why this is here)."""

from pathlib import Path

from clu import metric_writers


def scalar_writer(folder: Path) -> metric_writers.SummaryWriter:
    """Writer of event files: `write_scalars(step, {name: value})`, then `close()`."""
    return metric_writers.SummaryWriter(str(folder))
