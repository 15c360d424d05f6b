"""An index of six coloured shapes and a model whose embedding is the mean colour of a photo's object, as a service."""

import contextlib
import io
import socket
import threading
import time
import types
from pathlib import Path
from types import MappingProxyType

import numpy as np
import trimesh
from PIL import Image

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.geometry.measures import mesh_facts
from jaxret.geometry.mesh import load_mesh
from jaxret.index.index import Hit
from jaxret.index.model_files import file_mark
from jaxret.index.where import Matching, parse_where
from jaxret.preprocessing.photos import PhotoInputs, photo_arrays
from jaxret.preprocessing.shapes import ShapeInputs
from jaxret.serving.app import create_app
from jaxret.serving.limits import Limits
from jaxret.serving.searcher import Searcher
from jaxret.serving.server import Server, settings

COLORS = {
    'red': (255, 0, 0),
    'green': (0, 255, 0),
    'blue': (0, 0, 255),
    'yellow': (255, 255, 0),
    'white': (255, 255, 255),
    'black': (0, 0, 0),
}
CRASH = (1, 2, 3)  # a photo of this colour
LIMITS = Limits(
    upload_bytes=200_000,
    upload_seconds=5.0,
    photo_pixels=40_000,
    mesh_faces=500,
    mesh_seconds=20.0,
    active=2,
    waiting=300,
    top=5,
)


class ColorIndex:
    """The part of `jaxret.Index` that a service needs; a shape's embedding is its colour."""

    system = 'colors'
    fingerprint = 'colors'
    references = None
    purposes = ()
    certainty = MappingProxyType({})  # of the first hit
    categories = ('warm', 'cold', 'cold', 'warm', 'none', 'none')

    def __init__(self, folder: Path):
        self.ids = tuple(f'{category}/{name}.off' for category, name in zip(self.categories, COLORS, strict=True))
        self.embeddings = np.array(list(COLORS.values()), np.float32)
        self.folder, self.marks = folder, {}
        for number, shape in enumerate(self.ids):
            path = self.model_path(shape)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(trimesh.creation.box((1, 1 + number, 2)).export(file_type='off'))
            self.model_mark(shape)

    def model_path(self, shape: str) -> Path:
        return self.folder / shape

    def model_mark(self, shape: str) -> list[int]:
        return self.marks.setdefault(shape, file_mark(self.model_path(shape), textured=False))

    def axis_of_query(self, path: Path) -> str:
        return 'y'

    def up_axis(self, shape: str) -> str:
        return 'y'

    def thumbnail(self, shape: str) -> bytes:
        return png(np.full((8, 8, 3), COLORS[Path(shape).stem], np.uint8))

    def facts(self, shape: str) -> dict:
        return mesh_facts(load_mesh(self.model_path(shape))) | {'colors': ['#ff0000'] if 'red' in shape else []}

    def matching(self, where: str) -> Matching:
        """'watertight', which all are, or else none, as they have no unit."""
        parse_where(where)
        return Matching(np.full(len(self.ids), where == 'watertight'), 0 if where == 'watertight' else len(self.ids))

    def search_together(self, queries, *, top_k, categories=None, where=None, purpose=None, texts=None):
        joined = queries.mean(axis=0, keepdims=True)
        if texts is not None:
            joined = (joined + texts) / 2
        return self.search(joined, top_k=top_k, categories=categories, where=where, purpose=purpose)[0]

    def alike(self, signature):
        return []

    def search(self, queries, *, top_k, categories=None, where=None, purpose=None, references=True, also=None):
        assert queries.shape == (1, 3)
        if purpose not in (None, *self.purposes):
            raise ConfigError(f'purpose {purpose!r}: the model of this index leaves no choice')
        self.purpose = purpose
        scores = -np.linalg.norm(self.embeddings - queries, axis=1)
        order = [
            number
            for number in np.argsort(-scores, kind='stable')
            if (categories is None or self.categories[number] in categories)
            and (where is None or self.matching(where).shapes[number])
        ]
        return [
            [
                Hit(
                    rank=rank,
                    id=self.ids[number],
                    category=self.categories[number],
                    score=float(scores[number]),
                    view=number,
                    azimuth=30.0 * number,
                    elevation=30.0,
                    **(self.certainty if rank == 1 else {}),
                )
                for rank, number in enumerate(order[:top_k], 1)
            ]
        ]


class ColorModel:
    """The part of `jaxret.Model` that a service needs; a mesh's embedding is 255 for each of its first three faces."""

    def __init__(self, query_kinds: tuple[str, ...] = ('photo', 'mesh')):
        self.query_kinds = query_kinds
        self.photos = 0

    takes_text = True

    def embed_texts(self, texts):
        return np.float32([[255 * (text == name) for name in ('red', 'green', 'blue')] for text in texts])

    def query_inputs(self, kind: str):
        if kind == 'photo':
            return PhotoInputs('masked', size=32, crop='none', fit='stretch')
        return ShapeInputs('points', points=16)

    def embed_photos(self, photos, *, masks=(None,), boxes=(None,)):
        if (photos[0] == CRASH).all():
            raise RuntimeError('a fault that nobody foresaw')
        arrays = photo_arrays(photos[0], inputs=self.query_inputs('photo'), mask=masks[0], box=boxes[0])
        self.photos += 1
        weight = arrays['mask'].astype(np.float32)
        return (arrays['image'] * weight).sum(axis=(0, 1), keepdims=True)[0] / weight.sum()

    def embed_query_arrays(self, arrays, kind):
        if kind != 'mesh':
            raise DataError(Problem(kind, 'not a mesh', 'give a mesh'))
        points = arrays[0]['points']
        return np.float32([[255, 0, 0]]) if np.ptp(points[:, 1]) > np.ptp(points[:, 0]) else np.float32([[0, 0, 255]])


def service(folder: Path, *, limits: Limits = LIMITS, model: ColorModel | None = None):
    """(app, index, model)."""
    index, model = ColorIndex(folder / 'models'), model or ColorModel()
    return types.SimpleNamespace(
        app=create_app(index, Searcher(index, model, limits=limits), limits=limits), index=index, model=model
    )


@contextlib.contextmanager
def listening(app, limits: Limits = LIMITS):
    """Address of a server in a thread of this process."""
    server = Server(settings(app, limits))
    with socket.create_server(('127.0.0.1', 0)) as sock:
        thread = threading.Thread(target=server.run, kwargs={'sockets': [sock]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield sock.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def answer_on(connection: socket.socket) -> bytes:
    """What comes on a connection: to the end of one refusal, or until it is closed."""
    connection.settimeout(20)
    received = b''
    with contextlib.suppress(ConnectionResetError):
        while b'}' not in received and (block := connection.recv(65536)):
            received += block
    return received


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of an array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def two_colors(width: int = 60, height: int = 40) -> np.ndarray:
    """A photo: a red left third on blue."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:, :, 2] = 255
    photo[:, : width // 3] = (255, 0, 0)
    return photo
