"""CSV files of photos and the models that they show, and how their photos become references of an index."""

import contextlib
import csv
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.files import check_regular, printable
from jaxret.inference.query_files import parse_box
from jaxret.preprocessing.auto_mask import can_mask
from jaxret.preprocessing.photo_files import Box

COLUMNS = ('photo', 'model', 'mask', 'box')
_NEEDED = COLUMNS[:2]
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class PhotoLine:
    """A line of such a file.

    Attributes:
      name: of the photo, as it stands there.
      model: id of the model that it shows.
      photo: its file.
      mask: its file, 'auto' or None.
      box: around the object, or None.
    """

    name: str
    model: str
    photo: Path
    mask: Path | str | None
    box: Box | None


def read_photo_list(path: Path, *, models: Container[str] | None = None, files: bool = True) -> list[PhotoLine]:
    """Photos and their models.

    Args:
      path: UTF-8 CSV file with the columns photo, model and perhaps mask and box; photo and mask are paths relative to
        it, a mask may be 'auto', a box is left,top,right,bottom in pixels.
      models: ids that the index has; None for any.
      files: whether photos and masks must be there.

    Raises:
      DataError: with everything that is wrong with the file or its lines.
    """
    action = f'give a CSV file whose first line is {",".join(_NEEDED)}, perhaps with mask and box'
    try:
        check_regular(path, most=_MOST_BYTES)
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            if not set(_NEEDED) <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
                raise DataError(Problem(str(path), f'columns {", ".join(columns) or "none"}', action))
            rows = [(f'{path}, line {reader.line_num}', row) for row in reader]
    except FileNotFoundError:
        raise DataError(Problem(str(path), 'missing', action)) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(Problem(str(path), f'cannot be read ({error})', action)) from error
    if not rows:
        raise DataError(Problem(str(path), 'no photos', action))
    lines, problems, shown = [], [], {}
    for where, row in rows:
        line = _line(path.parent, {name: (row.get(name) or '').strip() for name in COLUMNS})
        wrong = list(_faults(line, too_long=None in row, models=models, files=files))
        same = (line.photo, line.mask, line.box)
        if shown.setdefault(same, line.model) != line.model:
            wrong.append((f'the same photo shows {shown[same]!r} above, {line.model!r} here', 'leave one out'))
        problems += [Problem(where, *fault) for fault in wrong]
        lines.append(line)
    if problems:
        raise DataError(problems)
    return lines


def _line(folder: Path, row: dict[str, str]) -> PhotoLine:
    """A line as it stands; a box that is none is kept as text."""
    box = row['box'] or None
    with contextlib.suppress(ConfigError):
        box = parse_box(box) if box else None
    mask = row['mask'] or None
    return PhotoLine(
        printable(row['photo']),
        Path(row['model']).as_posix() if row['model'] else '',
        folder / row['photo'],
        mask if mask in (None, 'auto') else folder / mask,
        box,
    )


def _faults(
    line: PhotoLine, *, too_long: bool, models: Container[str] | None, files: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with a line, and what to do."""
    if too_long:
        yield 'more values than columns', 'quote what holds commas, as a box: "40,20,300,260"'
    if not line.name:
        yield 'no photo', 'name its file, relative to the CSV file'
    elif files and not line.photo.is_file():
        yield f'photo {line.name!r}: no such file', 'name a file, relative to the CSV file'
    if not line.model or (models is not None and line.model not in models):
        yield f'model {line.model!r}: not in the index', 'give the id of a model, its path below its folder of models'
    if isinstance(line.mask, Path) and files and not line.mask.is_file():
        yield f'mask {line.mask}: no such file', 'name a file, relative to the CSV file'
    if line.mask == 'auto' and not can_mask():
        yield 'mask auto needs OpenCV', "pip install 'jaxret[mask]', or give a mask file, a box or none"
    if isinstance(line.box, str):
        yield f'box {line.box!r}', 'give left,top,right,bottom in pixels, such as "40,20,300,260"'
