"""The answers of the server as types; its OpenAPI description is made from them."""

from pydantic import BaseModel, Field


class Facts(BaseModel):
    """What a shape measures."""

    name: str = Field(description='of the product or scene in its file; empty for none')
    unit: str | None = Field(description='of its file; None where that does not say')
    size: list[float | None] = Field(description="extents along x, y, z of its file, in the file's units")
    size_mm: list[float | None] | None = Field(description='likewise in mm; None without a unit')
    area: float | None = Field(description="in mm2; without a unit in the file's")
    volume: float | None = Field(description="in mm3; without a unit in the file's; None for an open surface")
    triangles: int
    watertight: bool = Field(description='whether it encloses a volume without a gap')
    colors: list[str] = Field(description='#rrggbb of its materials')


class Shape(BaseModel):
    """One shape of the index."""

    number: int = Field(description='of the shape in the index')
    id: str
    category: str
    facts: Facts | None = Field(description='None for a shape that was indexed before they were kept')
    thumbnail: str = Field(description='address of its picture (PNG), relative to the page')
    viewer: str = Field(description='address of a page that shows it in 3D, from where the view was taken')
    download: str = Field(description='address of its model file')


class Result(Shape):
    """One shape that answers a query."""

    rank: int = Field(description='1 is the best')
    score: float = Field(description='larger is better; comparable within one answer only')
    view: int | None = Field(description='the view that the query attends to most, if the system has views')
    azimuth: float | None = Field(description='from where the photo, or that view, sees the shape, in degrees')
    elevation: float | None = Field(description='likewise, in degrees above the horizon')
    references: int = Field(description='photos that are known to show it')
    chance: float | None = Field(description='of the first: that it is the right one, where that is known')
    present: float | None = Field(
        description='of the first: chance that the right one is in the index at all, where that is known'
    )
    distance: float | None = Field(
        description='of a mesh, where the shape was laid on it: largest distance between their surfaces, as a share of '
        "the mesh's longest side"
    )
    mean_distance: float | None = Field(description='likewise their mean distance')
    scale: float | None = Field(description='likewise by what the size of the shape was multiplied')
    mirrored: bool | None = Field(description='likewise whether it is a mirror image')
    copy_of: str = Field(description='first shape whose file has the same content; empty for that one')


class Answer(BaseModel):
    """Answer to a query: the best shapes, best first."""

    kind: str = Field(description='what the upload was taken for: photo, mesh, ...; text for words alone')
    shapes: int = Field(description='number of shapes that were searched')
    seconds: float = Field(description='from the whole upload to the answer, waiting included')
    query: str | None = Field(description='name of the query, by which its photos can be taught; None without photos')
    searched: list[str] = Field(description='addresses of pictures (JPEG) of what was searched for in each photo')
    masks: list[str | None] = Field(
        description='of each photo the address of a picture (PNG) that darkens what is not its object; None: no mask'
    )
    left_out: int = Field(description='shapes that `where` leaves out only because their files have no unit')
    results: list[Result]


class Taught(BaseModel):
    """What teaching did."""

    new: int = Field(description='photos that were not known as photos of this shape before')
    references: int = Field(description='photos that the shape has now')


class Undone(BaseModel):
    """What was taken back."""

    shapes: list[int | None] = Field(description='of each photo the shape; None for a photo of none of the shapes')


class Removed(BaseModel):
    """What counts no more."""

    removed: int = Field(description='number of the reference')


class Known(BaseModel):
    """A photo that is known to show a shape."""

    number: int = Field(description='of the reference')
    photo: str = Field(description='its name')
    added: str = Field(description='when, in UTC')
    picture: str = Field(description='address of its picture (JPEG)')


class Category(BaseModel):
    """A category of the index."""

    name: str
    shapes: int


class Description(BaseModel):
    """What is searched, and what may be sent."""

    system: str
    query_kinds: list[str] = Field(description='what the index can be asked with')
    takes_text: bool = Field(description='whether words can be asked with, alone or with a photo')
    purposes: list[str] = Field(
        description='what can be searched for, the default first; none where there is no choice'
    )
    shapes: int
    categories: list[Category]
    suffixes: list[str] = Field(description='of the files that are taken')
    finds_objects: bool = Field(description='whether it can cut the object out of a photo by its colours')
    teaches: bool = Field(description='whether it can be taught which shape a photo shows')
    photos: int = Field(description='limit of photos of one object in a request')
    upload_bytes: int = Field(description='limit of a request')
    top: int = Field(description='limit of results')


class Health(BaseModel):
    """That the server answers."""

    status: str = Field(description='ok')
    shapes: int
    model: str = Field(description='the system that embedded the shapes')
    fingerprint: str = Field(description='of its weights')


class Refusal(BaseModel):
    """Why there is no answer, and what to do."""

    message: str
