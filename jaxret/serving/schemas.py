"""The answers of the server as types; its OpenAPI description is made from them."""

from pydantic import BaseModel, Field


class Result(BaseModel):
    """One shape that answers a query."""

    rank: int = Field(description='1 is the best')
    id: str
    category: str
    score: float = Field(description='larger is better; comparable within one answer only')
    view: int | None = Field(description='the view that the query attends to most, if the system has views')
    azimuth: float | None = Field(description='of that view, in degrees')
    elevation: float | None = Field(description='of that view, in degrees')
    thumbnail: str = Field(description='address of its picture (PNG), relative to the page')
    viewer: str = Field(description='address of a page that shows it in 3D')
    download: str = Field(description='address of its model file')


class Answer(BaseModel):
    """Answer to a query: the best shapes, best first."""

    kind: str = Field(description='what the upload was taken for: photo, mesh, ...; text for words alone')
    shapes: int = Field(description='number of shapes that were searched')
    seconds: float = Field(description='from the whole upload to the answer, waiting included')
    results: list[Result]


class Category(BaseModel):
    """A category of the index."""

    name: str
    shapes: int


class Description(BaseModel):
    """What is searched, and what may be sent."""

    system: str
    query_kinds: list[str] = Field(description='what the index can be asked with')
    takes_text: bool = Field(description='whether words can be asked with, alone or with a photo')
    shapes: int
    categories: list[Category]
    suffixes: list[str] = Field(description='of the files that are taken')
    finds_objects: bool = Field(description='whether it can cut the object out of a photo by its colours')
    upload_bytes: int = Field(description='limit of a request')
    top: int = Field(description='limit of results')


class Refusal(BaseModel):
    """Why there is no answer, and what to do."""

    message: str
