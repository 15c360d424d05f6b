"""Files and arrays of shapes as other layers name them, without the tools that read and make them."""

import codecs
from importlib.util import find_spec
from pathlib import PurePath

CONVERTED_SUFFIXES = ('.step', '.stp', '.iges', '.igs')  # by a CAD kernel
MESH_SUFFIXES = ('.obj', '.off', '.ply', '.stl', '.glb', '.gltf', '.3mf', '.dae', *CONVERTED_SUFFIXES)
DISTANCE_SUFFIXES = ('.sdf', '.df', '.vox')
ARCHIVE_SUFFIX = '.zip'
# Formats of which one file may hold several parts.
ASSEMBLY_SUFFIXES = ('.glb', '.gltf', '.3mf', '.dae', *CONVERTED_SUFFIXES)
FACE_VALUES = 15  # of a face: centre 3, corners 9, normal 3

CAD_EXTRA = "pip install 'jaxret[cad]'"
_MODULES = {**dict.fromkeys(CONVERTED_SUFFIXES, 'cascadio'), '.dae': 'collada'}
_OF_THE_PROGRAM = 'export it as STEP from the program that made it'
# What would read files that are models by their name.
_UNREAD = {
    **dict.fromkeys(('.sldprt', '.sldasm'), 'export it as STEP from SolidWorks'),
    **dict.fromkeys(('.ipt', '.iam'), 'export it as STEP from Inventor'),
    **dict.fromkeys(('.catpart', '.catproduct', '.cgr'), 'export it as STEP from CATIA'),
    **dict.fromkeys(('.prt', '.asm', '.x_t', '.x_b', '.jt', '.sat', '.3dxml'), _OF_THE_PROGRAM),
    **dict.fromkeys(('.f3d', '.f3z'), 'export it as STEP from Fusion'),
    **dict.fromkeys(('.fcstd', '.brep', '.brp'), 'export it as STEP from FreeCAD'),
    **dict.fromkeys(('.skp', '.3dm', '.max', '.ma', '.mb', '.c4d'), 'export it as GLB from the program that made it'),
    **dict.fromkeys(('.dwg', '.dxf', '.ifc'), 'export its solids as STEP from a CAD program'),
    **dict.fromkeys(('.fbx', '.blend', '.3ds', '.wrl', '.vrml', '.x3d', '.lwo'), 'export it as GLB from Blender'),
    **dict.fromkeys(('.usd', '.usda', '.usdc', '.usdz'), 'export it as GLB from Blender'),
    **dict.fromkeys(('.amf', '.vtk', '.vtp', '.msh'), 'convert it to STL, PLY or 3MF'),
    **dict.fromkeys(('.rar', '.7z', '.tar', '.tgz', '.bz2', '.xz', '.zst'), 'unpack it, or pack it as zip'),
}


class UnusableMesh(Exception):
    """What is wrong with a mesh; becomes a `DataError` that also names the file."""


def model_suffix(name: str | PurePath) -> str:
    """The format that a file's name tells, as a suffix in small letters: '.stl' also of 'bolt.stl.gz'."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix == '.gz':
        return PurePath(path.stem).suffix.lower()
    return '.stp' if suffix == '.stpz' else suffix


def unread_format(name: str | PurePath) -> str | None:
    """What would make a file readable that is a model by its name, and that nothing here reads.

    Args:
      name: of the file.

    Returns:
      what to do, for a `Problem`; None for files that can be read, and for those that are no models.
    """
    if PurePath(name).suffix[1:].isdigit():  # Creo numbers its versions: bolt.prt.3
        name = PurePath(name).stem
    suffix = model_suffix(name)
    module = _MODULES.get(suffix)
    if module is not None:
        return None if find_spec(module) else CAD_EXTRA
    return _UNREAD.get(suffix) or _UNREAD.get(PurePath(name).suffix.lower())


def plain_text(data: bytes) -> bytes:
    """The content of a text file as UTF-8 without a byte order mark; stray bytes (a name in Latin-1) are replaced.

    Raises:
      UnusableMesh: it is UTF-16.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnusableMesh('text in UTF-16, not UTF-8')
    return data.removeprefix(codecs.BOM_UTF8).decode('utf-8', 'replace').encode()
