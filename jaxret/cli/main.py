"""The command `jaxret`: index folders of 3D models, search them, serve them, export an encoder or embeddings.

  jaxret demo DIR                                                a few models and photos to try the others on
  jaxret index --models DIR --out INDEX                          make or update an index
  jaxret index --out INDEX --add-photos CSV                      add photos that are known to show some of its models
  jaxret photos --index INDEX                                    list these, remove them, take the last ones back
  jaxret fit --index INDEX                                       learn of these
  jaxret search --index INDEX QUERY...                           photos, meshes, point clouds, scans, or folders of them
  jaxret search --index INDEX --text WORDS [PHOTO...]            words, where the model learned from them
  jaxret duplicates --index INDEX | --models DIR                 models that are the same, mirrored or nearly the same
  jaxret serve --index INDEX                                     a web page, and an HTTP endpoint beside it
  jaxret export --checkpoint WORKDIR --out FILE                  the query encoder as a StableHLO program
  jaxret export --index INDEX --out FILE | --database DB         the embeddings: Parquet, Arrow, or a vector database

The built-in model embeds, or with --checkpoint that of a training run (experiments/run.py, its WORKDIR).
`jaxret COMMAND --help` has all options.
"""

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from jaxret.cli import descriptions
from jaxret.cli.duplicates_options import add_duplicates
from jaxret.cli.next_step import quoted, tell_next
from jaxret.cli.search_options import add_search_options
from jaxret.compilation_cache import default_cache, keep_programs
from jaxret.errors import ConfigError, JaxretError
from jaxret.files import escape_missing_letters, printable_lines
from jaxret.platforms import check_platforms, quiet_libraries

_INTERRUPTED = {'index': 'interrupted; the same command goes on from the last 128 models that were embedded'}
_FORMAT = argparse.RawDescriptionHelpFormatter


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    quiet_libraries()
    warnings.formatwarning = lambda message, *_, **__: f'warning: {message}\n'
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        keep_programs(default_cache().absolute())
        status = options.run(options)
        sys.stdout.flush()
        return status
    except (JaxretError, argparse.ArgumentError) as error:
        _print_error(error)
        return 1
    except KeyboardInterrupt:
        print(_INTERRUPTED.get((arguments or sys.argv[1:])[0], 'interrupted'), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 141
    except OSError as error:  # such as a full disk under our output
        _print_error(error)
        with contextlib.suppress(OSError, io.UnsupportedOperation):  # what is left of it must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _print_error(error: Exception) -> None:
    print(printable_lines(f'error: {error}'), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('jaxret', description=__doc__, formatter_class=_FORMAT, allow_abbrev=False)
    parser.add_argument('--version', action='version', version=f'jaxret {version("jaxret")}')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)

    def command(name: str, summary: str, text: str, run) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=text, formatter_class=_FORMAT, allow_abbrev=False)
        added.set_defaults(run=run)
        for action in (None, 'store'):
            added.register('action', action, _Once)
        return added

    demo = command('demo', 'write a few models and photos to try the other commands on', descriptions.DEMO, _demo)
    demo.add_argument('folder', metavar='DIR', help='a new folder')

    index = command('index', 'make or update an index of a folder of models', descriptions.INDEX, _index)
    embeds = index.add_mutually_exclusive_group()
    embeds.add_argument('--model', metavar='NAME|FOLDER', help=descriptions.MODEL)
    embeds.add_argument('--checkpoint', metavar='WORKDIR', help='of a training run; its best checkpoint')
    index.add_argument('--models', metavar='DIR', help='folder of models')
    index.add_argument('--out', required=True, metavar='INDEX', help='folder of the index')
    index.add_argument('--add', action='store_true', help='DIR is a further folder of the index')
    index.add_argument('--rebuild', action='store_true', help='embed everything anew')
    index.add_argument('--up-axis', choices=('auto', 'y', 'z'), help=descriptions.UP_AXIS)
    index.add_argument(
        '--parts',
        action=argparse.BooleanOptionalAction,
        help='parts of an assembly are models of their own, such as toy.step/HEAD (default: as before, or no)',
    )
    index.add_argument('--categories', metavar='CSV', help='file with the columns path,category and perhaps up_axis')
    index.add_argument(
        '--add-photos', metavar='CSV', help='file with the columns photo,model and perhaps mask,box: known photos'
    )
    index.add_argument(
        '--gallery',
        choices=('views', 'faces', 'points'),
        help='cross-modal centers: what of a model is embedded (default: views)',
    )
    index.add_argument(
        '--processes',
        type=_positive,
        metavar='N',
        help='that read models (default: one a core; with --cluster 2 for each worker)',
    )
    index.add_argument(
        '--cluster', metavar='SCHEDULER', help='embed on a Dask cluster: its address, or the file that it wrote (.json)'
    )

    photos = command('photos', 'known photos of the models of an index', descriptions.PHOTOS, _photos)
    photos.add_argument('--index', required=True, metavar='INDEX')
    change = photos.add_mutually_exclusive_group()
    change.add_argument('--remove', nargs='+', metavar='NUMBER|CSV', help='do not let these count any more')
    change.add_argument('--undo', action='store_true', help='take back those that were added last, by whomever')
    form = photos.add_mutually_exclusive_group()
    form.add_argument('--json', action='store_true', help='print JSON')
    form.add_argument('--csv', action='store_true', help='print CSV')

    fit = command('fit', 'learn of the known photos of an index', descriptions.FIT, _fit)
    fit.add_argument('--index', required=True, metavar='INDEX')

    search = command(
        'search', 'find the models that match photos, meshes, point clouds or scans', descriptions.SEARCH, _search
    )
    add_search_options(search, _positive)

    add_duplicates(command, _positive)

    serve = command('serve', 'a web page and an HTTP endpoint for an index', 'Serves an index.', _serve)
    serve.add_argument('--index', required=True, metavar='INDEX')
    serve.add_argument('--checkpoint', metavar='WORKDIR', help='where the run of the index is now, if it was moved')
    serve.add_argument('--host', default='127.0.0.1', help='address to listen on (default: this machine only)')
    serve.add_argument('--port', type=int, default=8000, help='to listen on (default: 8000)')
    serve.add_argument('--read-only', action='store_true', help='let nobody teach which model a photo shows')
    serve.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='under which a proxy calls the server, as in the Host header; may be repeated',
    )

    export = command('export', 'write the query encoder, or the embeddings of an index', descriptions.EXPORT, _export)
    source = export.add_mutually_exclusive_group(required=True)
    source.add_argument('--checkpoint', metavar='WORKDIR', help='of a training run; its best checkpoint')
    source.add_argument('--model', metavar='NAME|FOLDER', help=descriptions.MODEL)
    source.add_argument('--index', metavar='INDEX')
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument('--out', metavar='FILE')
    target.add_argument('--database', metavar='DB', help='file ending in .db, or address of a Milvus server')
    export.add_argument(
        '--kind',
        choices=('photo', 'mesh', 'points', 'scan'),
        help='of query (default: the first that the system takes)',
    )
    export.add_argument('--collection', metavar='NAME', help='in the database (default: jaxret)')
    export.add_argument(
        '--approximate',
        action='store_true',
        help='let the database search by an HNSW graph: faster for millions, and it can miss shapes',
    )
    return parser


class _Once(argparse._StoreAction):
    """Takes an option's value, and refuses it a second time, of which argparse would take the last in silence."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        given = vars(namespace).setdefault('_given', set())
        if option_string and self.dest in given:
            raise argparse.ArgumentError(self, 'given twice; give it once')
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: must be a positive whole number')
    return value


def _demo(options: argparse.Namespace) -> int:
    from jaxret.cli.demo import run_demo

    return run_demo(options)


def _index(options: argparse.Namespace) -> int:
    from jaxret.cli.index import run_index

    return run_index(options, before_jax=check_platforms)


def _photos(options: argparse.Namespace) -> int:
    from jaxret.cli.photos import run_photos

    return run_photos(options)


def _fit(options: argparse.Namespace) -> int:
    check_platforms()
    from jaxret.index.fitting import told
    from jaxret.index.index import Index

    with Index.open(options.index) as index:
        print('\n'.join(told(index.fit(progress=True))))
    tell_next(f'jaxret search --index {quoted(options.index)} QUERY')
    return 0


def _search(options: argparse.Namespace) -> int:
    from jaxret.cli.search import run_search

    return run_search(options, before_jax=check_platforms)


def _serve(options: argparse.Namespace) -> int:
    check_platforms()
    try:
        from jaxret.serving.server import serve
    except ModuleNotFoundError as error:
        if (error.name or '').startswith('jaxret'):
            raise
        raise ConfigError(f"`jaxret serve` needs {error.name}: pip install 'jaxret[serve]'") from error
    from jaxret.index.index import Index
    from jaxret.index.loading import load_for_index

    index = Index.open(options.index)
    model = load_for_index(index.manifest, options.checkpoint)
    serve(index, model, host=options.host, port=options.port, names=options.allow_host, read_only=options.read_only)
    return 0


def _export(options: argparse.Namespace) -> int:
    from jaxret.cli.export import check_export, export_embeddings

    check_export(options)
    check_platforms()
    if options.index:
        export_embeddings(options)
        return 0
    from jaxret.inference.export import export_query_encoder
    from jaxret.inference.pretrained_model import PRETRAINED, load_model

    model = load_model(PRETRAINED if options.model else '', options.model or options.checkpoint)
    done = export_query_encoder(model, options.kind or model.query_kinds[0], options.out)
    print(
        f"{done.program}: {done.size / 2**20:.1f} MiB; its embeddings differ from the model's by at most "
        f'{done.difference:.1g} of their largest value\n{done.description}: what it takes'
    )
    tell_next(f'python -c "import jax; print(jax.export.deserialize(open({str(done.program)!r}, {"rb"!r}).read()))"')
    return 0


if __name__ == '__main__':
    sys.exit(main())
