"""What one client may ask of the server: bytes, pixels, faces, seconds, places in the queue."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server.

    Attributes:
      upload_bytes: of one request, all its files together.
      upload_seconds: in which a request must have arrived.
      upload_rate: bytes a second that an upload must have on the average, after its first `upload_grace` seconds.
      upload_grace: see there.
      header_seconds: in which the header of a request must have arrived.
      stalled_seconds: after which an answer is given up that the client does not take.
      connections: at a time; fewer where the system allows the process fewer open files.
      held_bytes: of all requests that arrive, wait or are answered, most of them in temporary files.
      photo_pixels: of a photo or mask; checked before it is decoded.
      mesh_faces: triangles of an uploaded mesh.
      mesh_seconds: in which an uploaded mesh must be read.
      apart: processes that read uploaded meshes at a time.
      mesh_memory: bytes of address space of the process that reads an uploaded mesh.
      active: requests that are answered at a time.
      waiting: requests that have arrived and wait for their turn, and as many that arrive, on half of the connections
        at most; further ones are told to come back (503).
      text: letters of the words that are asked with.
      top: results that one request may ask for.
      photos: of one object that one request may search for.
      queries: photos of how many searches are remembered, to be shown and taught; each takes some 50 kB.
      references: known photos that an index may have, with those that were removed, to be taught more.
      view_faces: triangles up to which the 3D view shows a model as it is; larger ones are simplified.
    """

    upload_bytes: int = 32 * 2**20
    upload_seconds: float = 60.0
    upload_rate: float = 4 * 2**10
    upload_grace: float = 5.0
    header_seconds: float = 10.0
    stalled_seconds: float = 60.0
    connections: int = 2000
    held_bytes: int = 2**30
    photo_pixels: int = 50_000_000
    mesh_faces: int = 500_000
    mesh_seconds: float = 60.0
    apart: int = 2
    mesh_memory: int = 4 * 2**30
    active: int = 8
    waiting: int = 1000
    text: int = 1000
    top: int = 100
    photos: int = 8
    queries: int = 256
    references: int = 100_000
    view_faces: int = 100_000
