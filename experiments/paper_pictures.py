"""One page with the pictures of a paper, made of a finished run.

  python experiments/paper_pictures.py --workdir=DIR [--tables=DIR] [--cache_dir=DIR] [--out=DIR]

--workdir    work directory of a run; its config says of which paper
--tables     folder of tables.py (--out there) of the same paper, for curves over a parameter
--cache_dir  prepared data, where it is not the run's own cache
--out        where the page goes (default: WORKDIR/paper)

Pictures that a run's report has are taken from there; the others are drawn of its data. OUT/index.html names those that
this run has not, and why.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluations import FOLDER
from interruption import run_command, says_errors
from machine import code_text, command_text, source
from overrides import cache_folder
from training_packages import check_training_packages

from jaxret.errors import ConfigError
from jaxret.files import escape_missing_letters, read_json
from jaxret.runs.config import read_run_config

# experiment -> title; [(name of the picture, heading, what it shows)]
PAPERS: Mapping[str, tuple[str, list[tuple[str, str, str]]]] = {
    'photo_to_shape': (
        'CMIC (Lin et al., ICCV 2021) and its supplement',
        [
            (
                'look_alikes',
                'Figure 3: look-alikes of different categories',
                'Pairs of gallery shapes of different categories with the smallest light-field distance (silhouettes '
                'of the ring of views, at the best turn), each shape in one pair at most; the nearest first.',
            ),
            (
                'colors',
                'Supplement, Figure 2: colour transfer beside random HSV',
                'Each row: a training photo, then with the colours of the photos above, then with random shifts of '
                "hue, saturation and value in the config's ranges.",
            ),
            (
                'curve',
                'Supplement, Figure 1: weight of the category loss',
                'Top-1 on the test photos against beta_1, over seeds; of the tables that --tables names.',
            ),
            (
                'unseen_sheet',
                'Figure 2: answers of an unseen gallery',
                'Of a run with evaluation.unseen_dir. Photo, mask, true shape, then the five best answers.',
            ),
            (
                'category_planes',
                'Figure 4: the gallery as a photo sees it',
                't-SNE of the shapes, merged for one photo, by category.',
            ),
        ],
    ),
    'cross_modal': (
        'Cross-modal centers (Choo et al.)',
        [
            ('precision_recall', 'Precision and recall', 'Of every direction, test split.'),
            ('embedding', 'Joint space', 't-SNE of the test objects in all modalities, by class and by modality.'),
        ],
    ),
    'domain_adaptation': (
        'HIFA',
        [
            (
                'embedding',
                'Figure 3: features before and after',
                't-SNE of photos and shapes, by domain and by class, before adaptation and after it.',
            ),
            ('precision_recall', 'Precision and recall', 'Of photos to shapes: pooled, and the mean over queries.'),
        ],
    ),
    'scan_to_cad': (
        'Scans to CAD models (Kabadayi and Dai)',
        [
            ('scans', 'Figures 5 and 6: scans with their nearest CAD models', 'Test scans, best answers first.'),
            ('embedding', 'Joint space', 't-SNE of scans and CAD models, by category and by domain.'),
        ],
    ),
}
_ABSENT = {
    'curve': 'name a folder of tables.py with --tables, in which rows of the weight were run',
    'unseen_sheet': 'evaluate the run with --config.evaluation.unseen_dir',
    'look_alikes': 'the gallery has one category',
}


@says_errors
def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--workdir', type=Path, required=True)
    for name in ('tables', 'cache_dir', 'out'):
        parser.add_argument(f'--{name}', type=Path)
    return _make(parser.parse_args(arguments))


def _make(known: argparse.Namespace) -> int:
    metrics = known.workdir / 'metrics.json'
    if not metrics.exists():
        raise ConfigError(f'{metrics}: no such file; --workdir must be the work directory of a finished run')
    if known.workdir.resolve().parent.name == FOLDER:
        raise ConfigError(f'{known.workdir}: an evaluation; --workdir must be the work directory of its run')
    try:
        facts = dict(read_json(metrics))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f'{metrics}: damaged ({error}); the command of that run makes it again') from error
    config = read_run_config(known.workdir / 'config.json')
    title, figures = PAPERS[config.experiment]
    if known.cache_dir:
        config.cache_dir = str(known.cache_dir)
    pictures: dict[str, Any] = {'curve': _curve(known.tables)} if known.tables else {}
    if config.experiment == 'photo_to_shape':
        pictures |= _of_photos(config, known.workdir)

    from PIL import Image

    from jaxret.reports.page import report_folder, write_page

    for name, _, _ in figures:
        found = (path for report in reports(known.workdir) if (path := report / f'{name}.png').exists())
        if name not in pictures and (path := next(found, None)):
            with Image.open(path) as picture:
                pictures[name] = picture.copy()
    missing = [name for name, _, _ in figures if pictures.get(name) is None]
    out = known.out or known.workdir / 'paper'
    with report_folder(out):
        page = write_page(
            out,
            'paper_pictures.html',
            pictures={name: pictures.get(name) for name, _, _ in figures},
            real='photos and shapes',
            values={'figures': figures},
            title=f'Pictures of {title}',
            config=config.to_dict(),
            skipped=[f'{name}: {_ABSENT.get(name, "the report of the run has none")}' for name in missing],
            notes=[],
            provenance={
                'synthetic': facts.get('synthetic'),
                'Command': command_text(),
                'Run': str(known.workdir),
                'Data': facts.get('data_dir', ''),
                'Code': code_text(source()),
            },
        )
    print(f'page: {page}')
    return 0


def reports(workdir: Path) -> list[Path]:
    """Folders of a run's reports: its own, then those of its evaluations, the newest first."""
    later = workdir.glob(f'{FOLDER}/*/report/index.html')
    newest = sorted(later, key=lambda page: page.stat().st_mtime, reverse=True)
    return [workdir / 'report', *(page.parent for page in newest)]


def _of_photos(config: Any, workdir: Path) -> dict[str, Any]:
    """What is drawn of the photos and shapes of a run."""
    check_training_packages()
    from photo_to_shape.data import load_photo_data
    from photo_to_shape.paper_figures import draw_colors, draw_look_alikes
    from value_checks import checked_view_ring

    from jaxret.compilation_cache import keep_programs

    keep_programs(cache_folder(config).absolute())
    ring = checked_view_ring(config, 'data.image_size')
    data = load_photo_data(config, ring, workdir, train=False)
    return {'look_alikes': draw_look_alikes(data, ring.background), 'colors': draw_colors(config, data)}


def _curve(tables: Path) -> Any:
    """The first figure of a folder of tables.py; None where its tables have none."""
    from jaxret.reports.paper_tables import draw_curve

    path = tables / 'results.json'
    if not path.exists():
        raise ConfigError(f'--tables={tables}: no results.json in it; name the folder (--out) of tables.py')
    try:
        drawn = [draw_curve(table) for table in read_json(path)['tables'] if table['axis']]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f'{path}: damaged, or of an earlier version ({error!r}); run the same tables again'
        ) from error
    return drawn[0] if drawn else None


if __name__ == '__main__':
    sys.exit(run_command(main))
