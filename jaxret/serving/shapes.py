"""What the server tells and gives of single shapes: /shapes/{number}."""

import contextlib
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import anyio
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse, HTMLResponse, Response

from jaxret.geometry.render import render_views
from jaxret.index.index import Index
from jaxret.preprocessing.photo_files import png_file
from jaxret.preprocessing.shapes import THUMBNAIL
from jaxret.serving import downloads, schemas, viewer
from jaxret.serving.limits import Limits

_KEPT_PAGES = 8  # of 3D views
_KEPT_PICTURES = 1000  # from the sides that results were asked for
_STEP = 5  # degrees between these
_WAITING = 24  # for a turn; beyond them the pictures of the index will do
Azimuth = Annotated[float | None, Query(ge=-360, le=360, description='of the camera, in degrees')]
Elevation = Annotated[float | None, Query(ge=-90, le=90, description='of the camera, in degrees')]


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

    @lru_cache(maxsize=_KEPT_PICTURES)
    def picture_of(number: int, azimuth: float, elevation: float) -> bytes:
        ring = replace(THUMBNAIL, first_azimuth=azimuth, elevation=elevation)
        return png_file(render_views(downloads.model_mesh(index, number), ring)[0])

    @app.get('/shapes/{number}/thumbnail', response_class=Response)
    async def thumbnail(number: int, azimuth: Azimuth = None, elevation: Elevation = None) -> Response:
        """Picture of a shape: from there where its model is read quickly and the server has time, else as indexed."""
        shape, picture = downloads.shape_id(index, number), None
        asked = azimuth is not None and elevation is not None and one_model.statistics().tasks_waiting < _WAITING
        if asked and downloads.is_quick(index, number, faces=limits.view_faces):
            pose = (_STEP * round(angle / _STEP) for angle in (azimuth, elevation))
            with contextlib.suppress(HTTPException):  # gone, or changed since
                picture = await anyio.to_thread.run_sync(picture_of, number, *pose, limiter=one_model)
        if picture is None:
            picture = await anyio.to_thread.run_sync(index.thumbnail, shape)
        return Response(picture, media_type='image/png')

    @app.get('/shapes/{number}/viewer', response_class=HTMLResponse)
    async def view(number: int, azimuth: Azimuth = None, elevation: Elevation = None) -> HTMLResponse:
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
      pose: query of the addresses of its picture and 3D view, with its ?; '' for none.
    """
    address = f'shapes/{number}'
    return {
        'number': number,
        'id': shape,
        'category': index.categories[number],
        'facts': index.facts(shape),
        'thumbnail': f'{address}/thumbnail{pose}',
        'viewer': f'{address}/viewer{pose}',
        'download': f'{address}/model',
    }
