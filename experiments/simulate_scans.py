"""Simulates scans of CAD models and writes them in the scan-CAD layout, to train and evaluate scan_cad.py on.

  python experiments/simulate_scans.py --models=DIR --out=DIR [--source=grids|meshes] [--scans=8] [--KEY=VALUE ...]

--models     DIR/<category>/<id>.vox (also .df, .sdf; 32^3), or with --source=meshes DIR/<category>/<id>.obj (.off ...);
             categories are ShapeNet synsets or any names; all models face the same way
--out        the folder to write; the same command again finds it complete, another one is refused
--scans      of each model, each from its own sector of azimuth; one is for test, one for validation, the rest to train
--seed       decides everything
--up_axis    with --source=meshes: axis that points up in the files, y (default) or z
--on_bad_file=skip
             goes on without models that cannot be used, listing all; by default they are an error
--processes  worker processes; 0 is one a core
--KEY=VALUE  any range of jaxret.geometry.scan.ScanOptions: --noise=0.002, --floor=1, --distance=1.5,3 (low and high)

Then: python experiments/run.py --config=scan_cad.py --config.data_dir=OUT. Its test scans are from other
viewpoints than those of training; with --config.data.pairs=scan2cad_objects_models.json they are of other models.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from console import console
from interruption import run_command

from data_pipelines.scan_to_cad.simulation import SOURCES, simulate_layout
from jaxret.errors import ConfigError, JaxretError, Problem
from jaxret.files import escape_missing_letters
from jaxret.geometry.scan import ScanOptions


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument('--models', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--source', default='grids', choices=sorted(SOURCES))
    parser.add_argument('--scans', type=int, default=8)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--up_axis', choices=('y', 'z'))
    parser.add_argument('--on_bad_file', default='error', choices=('error', 'skip'))
    parser.add_argument('--processes', type=int, default=0)
    for field in dataclasses.fields(ScanOptions):
        parser.add_argument(f'--{field.name}', help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        _check(given)
        ranges = {
            field.name: _value(field, getattr(given, field.name))
            for field in dataclasses.fields(ScanOptions)
            if getattr(given, field.name) is not None
        }
        out = simulate_layout(
            given.models,
            given.out,
            source=given.source,
            scans_per_model=given.scans,
            seed=given.seed,
            options=ScanOptions(**ranges),
            up_axis=given.up_axis or 'y',
            on_bad_file=given.on_bad_file,
            processes=given.processes or None,
        )
    except JaxretError as error:
        console.print(f'Error: {error}', style='bold red', soft_wrap=True, markup=False)
        return 1
    _report(out)
    return 0


def _check(given: argparse.Namespace) -> None:
    """Refuses values of the command's own options, by their names."""
    if given.up_axis and given.source == 'grids':
        raise ConfigError(
            f'--up_axis={given.up_axis}: is of mesh files, and grids are y up; leave it out, or use --source=meshes'
        )
    for option, least in (('scans', 2), ('seed', 0), ('processes', 0)):
        if getattr(given, option) < least:
            raise ConfigError(f'--{option}={getattr(given, option)}: use {least} or more')
    if not Path(given.models).is_dir():
        raise ConfigError(f'--models={given.models}: no such folder; name one with <category>/<id> files of CAD models')


def _value(field: dataclasses.Field, text: str) -> float | int | tuple:
    """A number, or two with a comma between, of the type of the default."""
    pair = isinstance(field.default, tuple)
    kind = type(field.default[0] if pair else field.default)
    try:
        values = tuple(kind(part) for part in text.split(','))
        if len(values) != (2 if pair else 1):
            raise ValueError(text)
    except ValueError:
        wanted = 'two numbers LOWEST,HIGHEST' if pair else 'a number'
        raise ConfigError(f'--{field.name}={text}: use {wanted}, as {field.default}') from None
    return values if pair else values[0]


def _report(out: Path) -> None:
    done = json.loads((out / 'complete.json').read_text())
    console.print(
        f'{out}: {done["scans"]} scans of {done["models"]} models, {done["annotations"]} annotations. On average '
        f'{done["mean_seen"]:.0%} of the outer surface seen; clutter in {done["with_clutter"]:.0%} of the scans.',
        soft_wrap=True,
    )
    for problem in done['left_out']:
        console.print(f'Left out: {Problem(*problem)}', style='yellow', soft_wrap=True, markup=False)
    if done['hidden_scans']:
        console.print(
            f'{len(done["hidden_scans"])} scans showed too little of their model and were left out, such as '
            f'{done["hidden_scans"][0]}.',
            style='yellow',
            soft_wrap=True,
            markup=False,
        )


if __name__ == '__main__':
    sys.exit(run_command(main))
