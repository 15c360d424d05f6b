"""The HTTP application: the page, the search endpoint, and what results point at.

Shapes are named by their number in the index, so that no request holds a path. Every refusal is {"message": ...}.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxret.errors import ConfigError, DataError
from jaxret.files import printable_lines
from jaxret.index.index import Hit, Index
from jaxret.preprocessing.auto_mask import can_mask
from jaxret.serving import downloads, schemas, viewer
from jaxret.serving.admission import Admission
from jaxret.serving.answers import Answers
from jaxret.serving.limits import Limits
from jaxret.serving.queries import KeptQueries
from jaxret.serving.searcher import Searcher, Upload
from jaxret.serving.teaching import teaching_routes

LOOPBACK = ('localhost', '127.0.0.1', '[::1]')
_PAGE = Path(__file__).with_name('page')
_KEPT_PAGES = 8  # of 3D views
_REFUSALS = {status: {'model': schemas.Refusal} for status in (400, 403, 404, 408, 413, 422, 503)}


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
    # FastAPI's pages of documentation load scripts from elsewhere, and variables of the environment could have its
    # telemetry send what it sees elsewhere.
    app = FastAPI(
        title='jaxret',
        summary='Search an index of CAD models',
        docs_url=None,
        redoc_url=None,
        telemetry={'tracing': False, 'metrics': False, 'logs': False, 'auto_configure': False},
    )
    app.add_middleware(Admission, limits=limits)
    app.add_middleware(_KnownHosts, hosts=hosts)
    app.add_middleware(Answers)
    _answer_errors(app)
    numbers = {shape: number for number, shape in enumerate(index.ids)}
    # One query and one model at a time: each takes all cores, and the memory is then that of one. A mesh that takes
    # long to read keeps no photo waiting.
    one_query, one_model, apart = (anyio.CapacityLimiter(number) for number in (1, 1, limits.apart))
    kept = KeptQueries(limits.queries)

    @lru_cache(maxsize=_KEPT_PAGES)
    def page_of(number: int, azimuth: float | None, elevation: float | None) -> bytes:
        mesh = downloads.model_mesh(index, number)
        return viewer.viewer_page(mesh, max_faces=limits.view_faces, azimuth=azimuth, elevation=elevation).encode()

    @app.get('/index', responses=_REFUSALS)
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

    @app.post('/search', responses=_REFUSALS)
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
        purpose: Annotated[
            str | None,
            Form(description='what is searched for, one of those that GET /index lists; the first by default'),
        ] = None,
        top: Annotated[int, Form(ge=1, le=limits.top, description='number of results')] = 12,
        category: Annotated[list[str] | None, Form(description='only shapes of these; may be repeated')] = None,
    ) -> schemas.Answer:
        """The shapes that match an upload best, or several photos of one object."""
        started = time.monotonic()
        unknown = sorted(set(category or ()) - set(index.categories))
        if unknown:
            raise HTTPException(422, f'no category {unknown[0][:80]!r} in the index; GET /index lists them')
        in_thread = anyio.to_thread.run_sync
        with tempfile.TemporaryDirectory(prefix='jaxret-upload-') as folder:
            files, masks = ([Upload(part.filename, part.file) for part in parts or ()] for parts in (file, mask))
            options = {'text': text.strip(), 'kind': kind or None, 'find_object': find_object}
            receive = partial(searcher.receive_all, Path(folder), files, masks, box or (), **options)
            asked = {'top': top, 'categories': category or None, 'purpose': purpose or None}
            try:
                queries = await in_thread(receive)
                if queries[0].kind in ('photo', 'text'):
                    answer = partial(searcher.answer_photos, queries, **asked)
                    hits, photos = await in_thread(answer, limiter=one_query)
                    name = kept.keep(photos) if photos else None
                else:
                    arrays = await in_thread(searcher.read_apart, queries[0], limiter=apart)
                    answer = partial(searcher.answer, queries[0], arrays, **asked)
                    hits, photos, name = await in_thread(answer, limiter=one_query), (), None
            except (ConfigError, DataError) as error:
                _check_index(error, index)
                raise HTTPException(422, str(error)) from error
        return schemas.Answer(
            kind=queries[0].kind,
            shapes=len(index.ids),
            seconds=time.monotonic() - started,
            query=name,
            searched=[f'queries/{name}/{place}' for place in range(len(photos))],
            results=[_result(hit, numbers[hit.id]) for hit in hits],
        )

    @app.get('/shapes/{number}/thumbnail', response_class=Response, responses=_REFUSALS)
    def thumbnail(number: int) -> Response:
        """Picture of a shape."""
        return Response(index.thumbnail(downloads.shape_id(index, number)), media_type='image/png')

    @app.get('/shapes/{number}/viewer', response_class=HTMLResponse, responses=_REFUSALS)
    async def view(
        number: int,
        azimuth: Annotated[float | None, Query(ge=-360, le=360, description='of the camera at first')] = None,
        elevation: Annotated[float | None, Query(ge=-90, le=90, description='of the camera at first')] = None,
    ) -> HTMLResponse:
        """Page that shows a shape in 3D."""
        page = await anyio.to_thread.run_sync(page_of, number, azimuth, elevation, limiter=one_model)
        return HTMLResponse(page, headers={'Content-Security-Policy': viewer.CONTENT_SECURITY_POLICY})

    @app.get('/shapes/{number}/model', response_class=FileResponse, responses=_REFUSALS)
    async def model(number: int) -> Response:
        """Model file of a shape; its geometry as one GLB file if it is a glTF file of several parts."""
        return await anyio.to_thread.run_sync(downloads.model_answer, index, number, limiter=one_model)

    app.include_router(
        teaching_routes(index, searcher, kept, limits=limits, hosts=hosts, read_only=read_only, one_query=one_query)
    )

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


def _result(hit: Hit, number: int) -> schemas.Result:
    address = f'shapes/{number}'
    pose = {'azimuth': hit.azimuth, 'elevation': hit.elevation}
    pose = '&'.join(f'{name}={angle:g}' for name, angle in pose.items() if angle is not None)
    return schemas.Result(
        rank=hit.rank,
        number=number,
        id=hit.id,
        category=hit.category,
        score=hit.score,
        view=hit.view,
        azimuth=hit.azimuth,
        elevation=hit.elevation,
        references=hit.references,
        chance=hit.chance,
        present=hit.present,
        thumbnail=f'{address}/thumbnail',
        viewer=f'{address}/viewer?{pose}' if pose else f'{address}/viewer',
        download=f'{address}/model',
    )


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
