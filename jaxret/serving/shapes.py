"""What the server tells and gives of single shapes: /shapes/{number}."""

from functools import lru_cache
from typing import Annotated

import anyio
from fastapi import FastAPI, Query
from fastapi.responses import FileResponse, HTMLResponse, Response

from jaxret.index.index import Index
from jaxret.serving import downloads, schemas, viewer
from jaxret.serving.limits import Limits

_KEPT_PAGES = 8  # of 3D views


def add_shapes(app: FastAPI, index: Index, *, limits: Limits) -> None:
    """Adds the addresses below /shapes of an index, but for its references."""
    one_model = anyio.CapacityLimiter(1)

    @lru_cache(maxsize=_KEPT_PAGES)
    def page_of(number: int, azimuth: float | None, elevation: float | None) -> bytes:
        mesh = downloads.model_mesh(index, number)
        return viewer.viewer_page(mesh, max_faces=limits.view_faces, azimuth=azimuth, elevation=elevation).encode()

    @app.get('/shapes/{number}')
    def describe(number: int) -> schemas.Shape:
        """What is known of a shape."""
        return schemas.Shape(**shape_fields(index, downloads.shape_id(index, number), number))

    @app.get('/shapes/{number}/thumbnail', response_class=Response)
    def thumbnail(number: int) -> Response:
        """Picture of a shape."""
        return Response(index.thumbnail(downloads.shape_id(index, number)), media_type='image/png')

    @app.get('/shapes/{number}/viewer', response_class=HTMLResponse)
    async def view(
        number: int,
        azimuth: Annotated[float | None, Query(ge=-360, le=360, description='of the camera at first')] = None,
        elevation: Annotated[float | None, Query(ge=-90, le=90, description='of the camera at first')] = None,
    ) -> HTMLResponse:
        """Page that shows a shape in 3D."""
        page = await anyio.to_thread.run_sync(page_of, number, azimuth, elevation, limiter=one_model)
        return HTMLResponse(page, headers={'Content-Security-Policy': viewer.CONTENT_SECURITY_POLICY})

    @app.get('/shapes/{number}/model', response_class=FileResponse)
    async def model(number: int) -> Response:
        """Model file of a shape; its geometry as one GLB file if it is a glTF file of several parts."""
        return await anyio.to_thread.run_sync(downloads.model_answer, index, number, limiter=one_model)


def shape_fields(index: Index, shape: str, number: int, pose: str = '') -> dict:
    """Of `schemas.Shape`.

    Args:
      index: of the shape.
      shape, number: its id and place.
      pose: query of the address of its 3D view.
    """
    address = f'shapes/{number}'
    return {
        'number': number,
        'id': shape,
        'category': index.categories[number],
        'facts': index.facts(shape),
        'thumbnail': f'{address}/thumbnail',
        'viewer': f'{address}/viewer?{pose}' if pose else f'{address}/viewer',
        'download': f'{address}/model',
    }
