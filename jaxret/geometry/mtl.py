"""Material libraries of OBJ files: which files they are, and what they say of diffuse colours.

Source: Wavefront, MTL Material Format; of it count `newmtl`, `Kd` and `map_Kd` with its options -s and -o.
"""

import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image

from jaxret.geometry.formats import MESH_SUFFIXES, UnusableMesh, plain_text
from jaxret.geometry.obj import plain_lines

MAX_BYTES = 512 * 2**20
_FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'GIF', 'TGA', 'WEBP')  # their decoders only decode
_LONGEST = 4096  # characters of a line that names files
_SIDE = 1024  # pixels; larger textures are shrunk, views are far smaller
_LIBRARY = re.compile(rb'^mtllib +([^\n]*)', re.MULTILINE)
# Options of a texture, with the most values that follow them.
_OPTIONS = dict.fromkeys(
    ('-blendu', '-blendv', '-bm', '-boost', '-cc', '-clamp', '-imfchan', '-texres', '-type'), 1
) | {'-mm': 2, '-o': 3, '-s': 3, '-t': 3}


@dataclass
class Material:
    """One material.

    Attributes:
      color: Kd, sRGB from 0 to 1; None where it has none.
      textures: names of the pictures of map_Kd, and what texture coordinates (u, v) are multiplied by and moved by.
      folder: of its library.
    """

    folder: Path
    color: tuple[float, float, float] | None = None
    textures: list[tuple[str, tuple[float, float], tuple[float, float]]] = field(default_factory=list)


class Materials:
    """The materials of an OBJ file.

    Nothing outside the file's folder is opened, but for a file below a folder `models` (ShapeNetCore, version 2), whose
    textures lie in a folder beside that. A file that is not where it is named is looked for in the OBJ file's folder
    and its library's by the last part of its name (as another machine wrote it), then in any letter case.

    Args:
      path: the OBJ file.

    Attributes:
      files: libraries, then textures, there or not.
      by_name: the materials; the first library that has a name counts.
    """

    def __init__(self, path: Path):
        self.folder = path.parent.resolve()
        self.root = self.folder.parent if self.folder.name == 'models' else self.folder
        self.left = MAX_BYTES
        self.files: list[Path] = []
        self._find = functools.cache(self._find_file)
        self._in_small_letters = functools.cache(self._small_letters)
        self.by_name: dict[str, Material] = {}
        for library in dict.fromkeys(self._libraries(path)):
            self.files.append(library)
            for name, material in self._parsed(library):
                self.by_name.setdefault(name, material)
        textures = [
            self._find(name, material.folder) for material in self.by_name.values() for name, _, _ in material.textures
        ]
        self.files = list(dict.fromkeys([*self.files, *(file for file in textures if file is not None)]))
        self.pictures: dict[Path, np.ndarray | None] = {}

    def texture(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Picture uint8 [H, W, 3] of a material, and what its (u, v) are multiplied by and moved by; None without one.

        Args:
          name: of the material.
        """
        material = self.by_name[name]
        for text, scale, offset in reversed(material.textures):
            file = self._find(text, material.folder)
            if file not in self.pictures:
                self.pictures[file] = self._picture(file)
            if self.pictures[file] is not None:
                return self.pictures[file], np.array(scale, np.float32), np.array(offset, np.float32)
        return None

    def _libraries(self, path: Path) -> Iterator[Path]:
        data = self._read(path)
        if data is None or b'mtllib' not in data:
            return
        for match in _LIBRARY.finditer(plain_lines(data)):
            text = match[1].decode().strip()
            file = self._find(text, self.folder)
            several = re.findall(r'\S.*?\.mtl(?=\s|$)', text[:_LONGEST], re.IGNORECASE)
            if several and not (file and file.is_file()):
                yield from (found for name in several if (found := self._find(name, self.folder)) is not None)
            elif file is not None:
                yield file

    def _parsed(self, library: Path) -> Iterator[tuple[str, Material]]:
        """The materials of a library by name."""
        data, material = self._read(library), None
        try:
            lines = [] if data is None else plain_text(data).decode().splitlines()
        except UnusableMesh:
            return
        for line in lines:
            if len(line) > _LONGEST:
                continue
            key, _, rest = line.strip().replace('\t', ' ').partition(' ')
            key, rest = key.lower(), rest.strip()
            if key == 'newmtl':
                material = Material(library.parent)
                yield ' '.join(rest.split()), material
            elif material is not None and key == 'kd':
                values = _numbers(rest.split(), 3)
                if values:
                    color = values if len(values) == 3 else values[:1] * 3
                    material.color = tuple(min(max(value, 0.0), 1.0) for value in color)
            elif material is not None and key == 'map_kd' and rest:
                material.textures.append(_texture(rest))

    def _find_file(self, name: str, folder: Path) -> Path | None:
        """Where a file is, or would be if it were there; None for one that is never opened."""
        name = name.strip('"').replace('\\', '/')
        last = name.rpartition('/')[2]
        folders = list(dict.fromkeys((folder, self.folder)))
        names = dict.fromkeys((name, unquote(name), name.partition(' #')[0].rstrip(), last))
        places = [place for part in names for above in folders if (place := self._allowed(above / part)) is not None]
        for place in places:
            if place.is_file():
                return place
        if not places:
            return None
        same = [self._in_small_letters(above).get(last.lower()) for above in folders]
        return next((file for file in same if file is not None), places[0])

    def _small_letters(self, folder: Path) -> dict[str, Path]:
        """The files of a folder that may be opened, by their names in small letters."""
        files = [self._allowed(file) for file in folder.iterdir()] if folder.is_dir() else []
        return {file.name.lower(): file for file in files if file is not None and file.is_file()}

    def _allowed(self, file: Path) -> Path | None:
        try:
            file = file.resolve()
            file.is_file()  # names that are too long
        except (OSError, ValueError, RuntimeError):  # a null byte, links in a circle
            return None
        inside = file.is_relative_to(self.root) and file.suffix.lower() not in MESH_SUFFIXES
        return file if inside else None

    def _read(self, file: Path) -> bytes | None:
        """The content of a file; None where it is not there, or the files of this mesh are too large together."""
        try:
            if not file.is_file():
                return None
            self.left -= file.stat().st_size
            return file.read_bytes() if self.left >= 0 else None
        except OSError:
            return None

    def _picture(self, file: Path | None) -> np.ndarray | None:
        """A picture uint8 [H, W, 3]; None where it is not there or damaged."""
        data = None if file is None else self._read(file)
        if data is None:
            return None
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
            picture.thumbnail((_SIDE, _SIDE))
            return np.asarray(picture.convert('RGB'), np.uint8)
        except Exception:  # Pillow lets out many types on damaged files
            return None


def _texture(text: str) -> tuple[str, tuple[float, float], tuple[float, float]]:
    """Name, scale and offset of a map statement: options, then a name that may hold spaces."""
    places = {'-s': [1.0, 1.0], '-o': [0.0, 0.0]}
    option, _, rest = text.partition(' ')
    while option.lower() in _OPTIONS and rest:
        words, most = rest.split(), _OPTIONS[option.lower()]
        values = _numbers(words[:-1], most)
        if option.lower() in places:
            places[option.lower()][: len(values)] = values[:2]
        text = rest.split(None, len(values) if most > 1 else 1)[-1]
        option, _, rest = text.partition(' ')
    return text, tuple(places['-s']), tuple(places['-o'])


def _numbers(words: list[str], most: int) -> list[float]:
    """The finite numbers with which a list of words begins, at most so many."""
    found = []
    for word in words[:most]:
        try:
            value = float(word)
        except ValueError:
            break
        if not np.isfinite(value):
            break
        found.append(value)
    return found
