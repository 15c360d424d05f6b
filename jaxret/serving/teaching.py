"""What the server is taught: photos that were searched for, and the model that they show.

Only the server's own page, and clients that are no browsers, may teach: a page from elsewhere has a browser send its
Origin, or say that the request is cross-site. No request holds a path: photos are named by the search that they were
sent to, shapes and references by numbers.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

import anyio
from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response

from jaxret.errors import DataError, StorageError
from jaxret.files import printable_lines
from jaxret.index.index import Index
from jaxret.index.references import Reference
from jaxret.preprocessing.reference_pictures import shown
from jaxret.serving import downloads, schemas
from jaxret.serving.limits import Limits
from jaxret.serving.queries import KeptQueries
from jaxret.serving.searcher import Searcher

_SHOWN = 320  # pixels a side of pictures that are shown
_LOCAL = ('localhost', '127.0.0.1', '[::1]', '::1')
Session = Annotated[str, Form(pattern=r'^[\w-]{8,64}$', description='a random name of the client, for its undo')]


def add_teaching(
    app: FastAPI,
    index: Index,
    searcher: Searcher,
    kept: KeptQueries,
    *,
    limits: Limits,
    hosts: Sequence[str],
    read_only: bool,
    one_query: anyio.CapacityLimiter,
) -> None:
    """Adds the addresses below /references and /queries, and /shapes/{number}/references.

    Args:
      app: the application.
      index, searcher: of it.
      kept: photos that were searched for.
      limits, hosts: of the application.
      read_only: refuse everything that changes the index.
      one_query: in which queries are embedded.
    """
    references = index.references
    numbers = {shape: number for number, shape in enumerate(index.ids)}

    def may_teach(request: Request) -> None:
        if read_only:
            raise HTTPException(403, 'this server is read-only: it is not taught; start it without --read-only')
        check_own_page(request, hosts)

    teaches = [Depends(may_teach)]

    @app.get('/queries/{query}/{place}', response_class=Response)
    def searched(query: str, place: int) -> Response:
        """What was searched for in one of the photos of a query, as a JPEG file."""
        photos = _kept(kept, query)
        if not 0 <= place < len(photos):
            raise HTTPException(404, f'the query has {len(photos)} photos, counted from 0')
        return Response(shown(photos[place].picture, side=_SHOWN), media_type='image/jpeg')

    @app.get('/queries/{query}/{place}/mask', response_class=Response)
    def mask(query: str, place: int) -> Response:
        """A PNG file, to be laid over one of the photos of a query, that darkens what was not taken as its object."""
        photos = _kept(kept, query)
        if not 0 <= place < len(photos) or photos[place].mask is None:
            raise HTTPException(404, 'the query has no photo of this number with a mask')
        return Response(photos[place].mask, media_type='image/png')

    @app.post('/references', dependencies=teaches)
    async def teach(
        query: Annotated[str, Form(max_length=64, description='of the answer to POST /search')],
        session: Session,
        shape: Annotated[
            int | None,
            Form(description='number of the shape that the photos of the query show; without it: none of the shapes'),
        ] = None,
    ) -> schemas.Taught:
        """The photos of a query become references of a shape. That they show none is noted, and counts nowhere."""
        photos = _kept(kept, query)
        model = None if shape is None else downloads.shape_id(index, shape)
        if await _in_thread(references.count) + len(photos) > limits.references:
            raise HTTPException(503, f'the index has {limits.references:,} photos, and takes no more')
        taught = await _in_thread(partial(searcher.prepare, photos), limiter=one_query)
        add = partial(references.add, key=index.fingerprint, origin='page', session=session)
        new = await _in_thread(add, [(model, photo) for photo in taught])
        count = 0 if model is None else len(await _in_thread(references.rows, model))
        return schemas.Taught(new=len(new), references=count)

    @app.post('/references/undo', dependencies=teaches)
    async def undo(session: Session) -> schemas.Undone:
        """Takes back what a client taught last and still counts; what that replaced counts again."""
        rows = await _in_thread(references.undo, session)
        return schemas.Undone(shapes=[numbers.get(row.model) for row in rows])

    @app.get('/shapes/{number}/references')
    async def known(number: int) -> list[schemas.Known]:
        """Photos that are known to show a shape, oldest first."""
        return [_described(row) for row in await _in_thread(references.rows, downloads.shape_id(index, number))]

    @app.get('/references/{number}/picture', response_class=Response)
    async def picture(number: int) -> Response:
        """What counts of a reference's photo, as a JPEG file."""
        try:
            kept_picture = await _in_thread(references.picture, number)
        except (KeyError, OverflowError):
            raise HTTPException(404, f'no reference {number}') from None
        return Response(shown(kept_picture, side=_SHOWN), media_type='image/jpeg')

    @app.delete('/references/{number}', dependencies=teaches)
    async def remove(number: int) -> schemas.Removed:
        """A reference counts no more."""
        if not 0 < number < 2**63 or not await _in_thread(references.remove, [number]):
            raise HTTPException(404, f'no reference {number}')
        return schemas.Removed(removed=number)


def check_own_page(request: Request, hosts: Sequence[str]) -> None:
    """Refuses what a page from elsewhere has a browser send; a client that is no browser says neither.

    Args:
      request: any.
      hosts: names under which a proxy may call the server, with others; '*' for any says nothing.

    Raises:
      HTTPException: 403.
    """
    site, origin = request.headers.get('sec-fetch-site'), request.headers.get('origin')
    allowed = site in (None, 'same-origin', 'none')
    if allowed and origin is not None:
        try:
            parts = urlsplit(origin)
            allowed = parts.netloc == request.headers.get('host') or _is_proxy(parts.hostname or '', hosts)
        except ValueError:
            allowed = False
    if not allowed:
        raise HTTPException(403, 'teaching from other web sites is refused')


def _is_proxy(name: str, hosts: Sequence[str]) -> bool:
    """Whether a name is one of those under which proxies call the server; '*.example.org' is all names below."""
    return any(
        name == host or (host.startswith('*.') and name.endswith(host[1:])) for host in hosts if host not in _LOCAL
    )


def _kept(kept: KeptQueries, query: str) -> tuple:
    try:
        return kept.photos(query)
    except KeyError:
        raise HTTPException(404, 'this search is not remembered any more; search again') from None


async def _in_thread(function: Callable, *arguments, limiter: anyio.CapacityLimiter | None = None):
    """What a function of the references returns. What is wrong with their file is told to the terminal alone."""
    try:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=limiter)
    except (DataError, StorageError) as error:
        print(printable_lines(f'error: {error}'), file=sys.stderr, flush=True)
        raise HTTPException(
            503, "the index's photos cannot be read or written; the server's terminal says why"
        ) from error


def _described(row: Reference) -> schemas.Known:
    return schemas.Known(
        number=row.number, photo=row.photo, added=row.added, picture=f'references/{row.number}/picture'
    )
