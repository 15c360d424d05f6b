"""What one client may ask of the server: bytes, pixels, faces, seconds, places in the queue."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server.

    Attributes:
      upload_bytes: of one request, all its files together.
      upload_seconds: in which a request must have arrived, counted from its turn.
      photo_pixels: of a photo or mask; checked before it is decoded.
      mesh_faces: triangles of an uploaded mesh.
      mesh_seconds: in which an uploaded mesh must be read.
      apart: processes that read uploaded meshes at a time.
      mesh_memory: bytes of address space of the process that reads an uploaded mesh.
      active: requests that are received and answered at a time; their bodies are in memory or in temporary files.
      waiting: requests that wait for their turn unread; further ones are told to come back (503).
      top: results that one request may ask for.
      view_faces: triangles up to which the 3D view shows a model as it is; larger ones are simplified.
    """

    upload_bytes: int = 32 * 2**20
    upload_seconds: float = 60.0
    photo_pixels: int = 50_000_000
    mesh_faces: int = 500_000
    mesh_seconds: float = 60.0
    apart: int = 2
    mesh_memory: int = 4 * 2**30
    active: int = 8
    waiting: int = 1000
    top: int = 100
    view_faces: int = 100_000
