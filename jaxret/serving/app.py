"""The HTTP application: the page, the search endpoint, and what results point at.

Shapes are named by their number in the index, so that no request holds a path. Every refusal is {"message": ...}.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio
from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxret.errors import ConfigError, DataError
from jaxret.files import printable_lines
from jaxret.index.index import Hit, Index
from jaxret.preprocessing.auto_mask import can_mask
from jaxret.serving import schemas
from jaxret.serving.admission import Admission
from jaxret.serving.answers import Answers
from jaxret.serving.forms import no_unknown_fields
from jaxret.serving.limits import Limits
from jaxret.serving.queries import KeptQueries
from jaxret.serving.searcher import Searcher
from jaxret.serving.shapes import add_shapes, shape_fields
from jaxret.serving.teaching import add_teaching
from jaxret.serving.uploads import Upload

LOOPBACK = ('localhost', '127.0.0.1', '[::1]')
_PAGE = Path(__file__).with_name('page')


def create_app(
    index: Index, searcher: Searcher, *, limits: Limits, hosts: Sequence[str] = LOOPBACK, read_only: bool = False
) -> FastAPI:
    """The application for one index.

    Args:
      index: what is searched; it stays as it was opened, less what it is taught.
      searcher: answers queries to it.
      limits: what clients may ask for.
      hosts: names under which the server is called; ('*',) for any. On loopback the check keeps out web pages that
        give the server's address a name of theirs.
      read_only: nothing can be taught.
    """
    # FastAPI's pages of documentation load scripts from elsewhere, so that /docs is one of our own; and variables of
    # the environment could have its telemetry send what it sees elsewhere.
    app = FastAPI(
        title='jaxret',
        summary='Search an index of CAD models',
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(no_unknown_fields)],
        responses={status: {'model': schemas.Refusal} for status in (400, 403, 404, 408, 413, 422, 503)},
        telemetry={'tracing': False, 'metrics': False, 'logs': False, 'auto_configure': False},
    )
    app.add_middleware(Admission, limits=limits)
    app.add_middleware(_KnownHosts, hosts=hosts)
    app.add_middleware(Answers)
    _answer_errors(app)
    numbers = {shape: number for number, shape in enumerate(index.ids)}
    # One query at a time: each takes all cores, and the memory is then that of one. A mesh that takes long to read
    # keeps no photo waiting.
    one_query, apart = (anyio.CapacityLimiter(number) for number in (1, limits.apart))
    kept = KeptQueries(limits.queries)

    @app.get('/index')
    def describe() -> schemas.Description:
        """What is searched, and what may be sent."""
        counts = sorted(Counter(category for category in index.categories if category).items())
        return schemas.Description(
            system=index.system,
            query_kinds=list(searcher.query_kinds),
            takes_text=searcher.takes_text,
            purposes=list(index.purposes),
            shapes=len(index.ids),
            categories=[schemas.Category(name=name, shapes=count) for name, count in counts],
            suffixes=list(searcher.suffixes),
            teaches='photo' in searcher.query_kinds and not read_only,
            photos=limits.photos,
            finds_objects='photo' in searcher.query_kinds and can_mask(),
            upload_bytes=limits.upload_bytes,
            top=limits.top,
        )

    @app.post('/search')
    async def search(
        file: Annotated[
            list[UploadFile] | None,
            File(
                description='of a kind that the index can be asked with; several are photos of one object; may be '
                'missing with text'
            ),
        ] = None,
        mask: Annotated[
            list[UploadFile] | None,
            File(
                description='of a photo: a picture of its size, bright on the object; of several photos one each, in '
                'their order, an empty file where one has none'
            ),
        ] = None,
        text: Annotated[
            str, Form(max_length=limits.text, description='words, alone or with a photo, where GET /index takes them')
        ] = '',
        kind: Annotated[
            str | None,
            Form(description="what the file is: photo, mesh, points or scan; by default its name's suffix tells"),
        ] = None,
        box: Annotated[
            list[str] | None,
            Form(
                description='of a photo: left,top,right,bottom in pixels as displayed; of several photos one each, in '
                'their order, empty where one has none'
            ),
        ] = None,
        find_object: Annotated[
            bool,
            Form(
                description='of photos without a mask: cut the object out by its colours, '
                'where GET /index says that this is possible'
            ),
        ] = False,
        up_axis: Annotated[
            Literal['', 'auto', 'y', 'z'],
            Form(description="that points up in a mesh or cloud; by default that of the index's models"),
        ] = '',
        align: Annotated[
            bool, Form(description='of a mesh: lay the first shapes on it, which gives distances and the order')
        ] = True,
        purpose: Annotated[
            str | None,
            Form(description='what is searched for, one of those that GET /index lists; the first by default'),
        ] = None,
        top: Annotated[int, Form(ge=1, le=limits.top, description='number of results')] = 12,
        category: Annotated[list[str] | None, Form(description='only shapes of these; may be repeated')] = None,
        where: Annotated[
            str,
            Form(
                max_length=limits.text,
                description='only shapes that measure so: conditions joined by `and`, such as size<200mm, '
                'volume>10cm3, triangles<5000, watertight, name~bolt, unit=mm, color=#ff0000',
            ),
        ] = '',
    ) -> schemas.Answer:
        """The shapes that match an upload best, or several photos of one object."""
        started = time.monotonic()
        unknown = sorted(set(category or ()) - set(index.categories))
        if unknown:
            raise HTTPException(422, f'no category {unknown[0][:80]!r} in the index; GET /index lists them')
        in_thread = anyio.to_thread.run_sync
        with tempfile.TemporaryDirectory(prefix='jaxret-upload-') as folder:
            files, masks = ([Upload(part.filename, part.file) for part in parts or ()] for parts in (file, mask))
            options = {'text': text.strip(), 'kind': kind or None, 'find_object': find_object, 'up_axis': up_axis}
            receive = partial(searcher.receive_all, Path(folder), files, masks, box or (), **options)
            asked = {'top_k': top, 'categories': category or None, 'purpose': purpose or None}
            asked['where'] = where if where.strip() else None
            try:
                left_out = (await in_thread(index.matching, where)).left_out if asked['where'] else 0
                queries = await in_thread(receive)
                if queries[0].kind in ('photo', 'text'):
                    answer = partial(searcher.answer_photos, queries, **asked)
                    hits, photos = await in_thread(answer, limiter=one_query)
                    name = kept.keep(photos) if photos else None
                else:
                    arrays = await in_thread(searcher.read_apart, queries[0], limiter=apart)
                    aligns = align and queries[0].kind == 'mesh'
                    answer = partial(searcher.answer, queries[0], arrays, aligns=aligns, **asked)
                    hits, photos, name = await in_thread(answer, limiter=one_query), (), None
                    if aligns:
                        hits = (await in_thread(searcher.align, queries[0], arrays, hits, limiter=apart))[:top]
            except (ConfigError, DataError) as error:
                _check_index(error, index)
                raise HTTPException(422, str(error)) from error
        results = await in_thread(lambda: [_result(index, hit, numbers[hit.id]) for hit in hits])
        return schemas.Answer(
            kind=queries[0].kind,
            shapes=len(index.ids),
            seconds=time.monotonic() - started,
            query=name,
            searched=[f'queries/{name}/{place}' for place in range(len(photos))],
            masks=[
                None if photo.mask is None else f'queries/{name}/{place}/mask' for place, photo in enumerate(photos)
            ],
            left_out=left_out,
            results=results,
        )

    add_shapes(app, index, limits=limits)
    add_teaching(app, index, searcher, kept, limits=limits, hosts=hosts, read_only=read_only, one_query=one_query)

    @app.get('/health')
    async def health() -> schemas.Health:
        """That the server answers, and with what."""
        return schemas.Health(
            status='ok', shapes=len(index.ids), model=index.system, fingerprint=index.fingerprint[:12]
        )

    @app.get('/docs', include_in_schema=False)
    def documentation() -> FileResponse:
        return FileResponse(_PAGE / 'docs.html')

    @app.get('/', include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_PAGE / 'index.html')

    app.openapi()  # made now, as it would describe HEAD like a second request of the same name
    for route in app.routes:
        if isinstance(route, APIRoute) and 'GET' in route.methods:
            route.methods.add('HEAD')  # answered as GET is; the server leaves the body out
    app.mount('/page', StaticFiles(directory=_PAGE), name='page')
    return app


class _KnownHosts:
    """Refuses requests under other names of the server than `hosts`, with a message as JSON."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]):
        self._app, self._hosts = app, list(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = JSONResponse({'message': 'the server is not called by this name (Host header)'}, 400)

        async def known(*_) -> None:
            nonlocal answer
            answer = self._app

        async def nowhere(*_) -> None:
            """Where Starlette's refusal goes, which is plain text."""

        await TrustedHostMiddleware(known, allowed_hosts=self._hosts, www_redirect=False)(scope, receive, nowhere)
        await answer(scope, receive, send)


def _result(index: Index, hit: Hit, number: int) -> schemas.Result:
    pose = {'azimuth': hit.azimuth, 'elevation': hit.elevation}
    pose = '&'.join(f'{name}={angle:g}' for name, angle in pose.items() if angle is not None)
    pose = f'?{pose}' if pose else ''
    own = {name: getattr(hit, name) for name in schemas.Result.model_fields if name not in schemas.Shape.model_fields}
    return schemas.Result(**shape_fields(index, hit.id, number, pose), **own)


def _check_index(error: ConfigError | DataError, index: Index) -> None:
    """Raises HTTPException where the index is damaged, which is told to the terminal alone: the query is sound."""
    problems = error.problems if isinstance(error, DataError) else ()
    if any(Path(problem.where).is_relative_to(index.folder) for problem in problems):
        print(printable_lines(f'error: {error}'), file=sys.stderr, flush=True)
        raise HTTPException(503, "the index cannot be read; the server's terminal says why") from error


def _answer_errors(app: FastAPI) -> None:
    """Every error as {"message": ...}; of one that nobody foresaw, the terminal has the details."""

    @app.exception_handler(PlainHTTPException)
    async def refused(request: Request, error: PlainHTTPException) -> JSONResponse:
        return JSONResponse({'message': error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f'{fault["loc"][-1]}: {fault["msg"]}' for fault in error.errors()]
        return JSONResponse({'message': '; '.join(faults)[:300]}, 422)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({'message': 'the server failed on this request; its terminal says why'}, 500)
