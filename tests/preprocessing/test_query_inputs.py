"""What becomes of query files: their kinds, photos with masks and boxes, point clouds, shapes."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_index import write_box

from jaxret.cli.answer_sheet import Row, draw_answers, query_picture
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.distance_grids import write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import load_mesh
from jaxret.index.index import Hit
from jaxret.inference.query_files import QueryFile, find_masks, find_queries, kind_of, parse_box
from jaxret.preprocessing import auto_mask as auto_mask_module
from jaxret.preprocessing.auto_mask import auto_mask, can_mask
from jaxret.preprocessing.framing import frame_photo
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.preprocessing.photos import PhotoInputs, photo_arrays
from jaxret.preprocessing.points import has_faces
from jaxret.preprocessing.shapes import shape_record

MASKED = PhotoInputs('masked', size=16, crop='mask', margin=0.1, fit='pad')


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def test_kinds_of_files(tmp_path):
    write_box(tmp_path / 'mesh.ply', 1, 2, 3)
    trimesh.PointCloud(np.random.default_rng(0).normal(size=(20, 3))).export(tmp_path / 'cloud.ply')
    assert has_faces(tmp_path / 'mesh.ply') and not has_faces(tmp_path / 'cloud.ply')
    kinds = {
        name: kind_of(tmp_path / name)
        for name in ('mesh.ply', 'cloud.ply', 'a.JPG', 'a.obj', 'a.xyz', 'a.npy', 'a.sdf', 'a.vox', 'a.txt', 'gone.ply')
    }
    assert kinds == {
        'mesh.ply': 'mesh',
        'cloud.ply': 'points',
        'a.JPG': 'photo',
        'a.obj': 'mesh',
        'a.xyz': 'points',
        'a.npy': 'points',
        'a.sdf': 'scan',
        'a.vox': 'scan',
        'a.txt': None,
        'gone.ply': 'points',
    }


def test_queries_of_folders_and_all_problems_at_once(tmp_path, photo):
    (tmp_path / 'deep/er').mkdir(parents=True)
    (tmp_path / '.hidden').mkdir()
    for name in ('deep/b.png', 'deep/er/a.png', '.hidden/c.png', 'd.png'):
        save(tmp_path / name, photo)
    write_box(tmp_path / 'deep/m.obj', 1, 1, 1)
    with pytest.warns(UserWarning, match='deep: files that this index is not asked with are left out: 1 .obj'):
        found = find_queries([tmp_path / 'd.png', tmp_path / 'deep'], kinds=('photo',), system='cmic')
    assert found == [QueryFile(tmp_path / name, 'photo') for name in ('d.png', 'deep/b.png', 'deep/er/a.png')]
    both = find_queries([tmp_path / 'deep'], kinds=('photo', 'mesh'), system='hifa')
    assert [query.kind for query in both] == ['photo', 'photo', 'mesh']
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(DataError) as caught:
        find_queries(
            [tmp_path / 'gone.png', tmp_path / 'deep/m.obj', tmp_path / 'notes.txt', tmp_path / 'd.png'],
            kinds=('photo',),
            system='cmic',
        )
    assert [problem.where for problem in caught.value.problems] == [
        str(tmp_path / name) for name in ('gone.png', 'deep/m.obj', 'notes.txt')
    ]
    assert "a query of kind 'mesh', which an index of a cmic model cannot embed" in str(caught.value)
    assert 'give photo (.jpg' in str(caught.value)


def test_masks_of_queries(tmp_path):
    queries = [
        QueryFile(tmp_path / 'a.jpg', 'photo'),
        QueryFile(tmp_path / 'b.jpg', 'photo'),
        QueryFile(tmp_path / 'm.obj', 'mesh'),
    ]
    assert find_masks('', queries) == [None] * 3
    assert find_masks('auto', queries) == ['auto', 'auto', None]
    (tmp_path / 'masks').mkdir()
    for name in ('a.png', 'other.png', 'b.txt'):
        (tmp_path / 'masks' / name).touch()
    with pytest.raises(DataError, match=r'b.jpg: no mask b.\* in'):
        find_masks(str(tmp_path / 'masks'), queries)
    (tmp_path / 'masks/b.webp').touch()
    assert find_masks(str(tmp_path / 'masks'), queries) == [tmp_path / 'masks/a.png', tmp_path / 'masks/b.webp', None]
    with pytest.raises(ConfigError, match='one mask for 2 photos'):
        find_masks(str(tmp_path / 'masks/a.png'), queries)
    assert find_masks(str(tmp_path / 'masks/a.png'), queries[1:]) == [tmp_path / 'masks/a.png', None]
    with pytest.raises(DataError, match='no such file'):
        find_masks(str(tmp_path / 'gone.png'), queries[:1])
    with pytest.raises(ConfigError, match='no photo among the queries'):
        find_masks('auto', queries[2:])


def test_boxes_as_text():
    assert parse_box('1,2.5,30,40') == (1, 2.5, 30, 40)
    for text in ('1,2,3', '1,2,3,x', '5,2,3,4', '1,4,3,4', 'nan,1,2,3', ''):
        with pytest.raises(ConfigError, match='not left,top,right,bottom'):
            parse_box(text)


def test_a_photo_with_mask_box_or_neither(tmp_path, photo):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 255
    path, mask_path = save(tmp_path / 'photo.png', photo), save(tmp_path / 'mask.png', mask)

    def framed(silhouette):
        image, framed_mask = frame_photo(photo, silhouette, size=16, crop='mask', margin=0.1)
        return {'image': image, 'mask': framed_mask}

    def check(found, wanted):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)

    for given in (mask, mask > 0, mask_path, str(mask_path)):
        for source in (photo, path):
            check(photo_arrays(source, inputs=MASKED, mask=given), framed(mask))
    check(photo_arrays(photo, inputs=MASKED), framed(np.full_like(mask, 255)))
    window = np.zeros_like(mask)
    window[5:25, 12:31] = 255
    check(photo_arrays(photo, inputs=MASKED, box=(12.2, 4.8, 30.9, 25)), framed(window))
    check(photo_arrays(photo, inputs=MASKED, box=(12.2, 4.8, 30.9, 25), mask=mask), framed(np.minimum(window, mask)))
    # parts of a box outside of the photo do not matter
    window[:], window[30:, 50:] = 0, 255
    check(photo_arrays(photo, inputs=MASKED, box=(50, 30, 600, 400)), framed(window))


def test_a_plain_photo_is_cut_to_its_box_and_a_view_is_grey_on_white(photo):
    plain = PhotoInputs('plain', size=12, stored_size=16, fit='stretch')
    whole = photo_arrays(photo, inputs=plain)['photo']
    assert whole.shape == (12, 12, 3)
    np.testing.assert_array_equal(
        photo_arrays(photo, inputs=plain, box=(10, 5, 40, 35))['photo'],
        photo_arrays(photo[5:35, 10:40], inputs=plain)['photo'],
    )
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 255
    dark = np.full((40, 60, 3), 60, np.uint8)
    view = photo_arrays(dark, inputs=PhotoInputs('view', size=20), mask=mask)['views']
    assert view.shape == (1, 20, 20, 1) and view.dtype == np.uint8
    assert view[0, 10, 10, 0] == 60 and (view[0, [0, -1]] > 240).all() and (view[0, :, [0, -1]] > 240).all()


@pytest.mark.parametrize(
    'options,found',
    [
        ({'mask': np.zeros((40, 60), np.uint8)}, 'the mask is empty'),
        ({'mask': np.ones((40, 61), np.uint8)}, 'a mask of shape'),
        ({'box': (70, 0, 80, 10)}, 'box 70, 0, 80, 10 for a photo of 60 x 40 pixels'),
        ({'box': (0, 0, 10, 10), 'mask': np.eye(40, 60, k=20, dtype=np.uint8)}, 'empty within the box'),
    ],
)
def test_a_photo_that_cannot_be_used(photo, options, found):
    with pytest.raises(DataError, match=found):
        photo_arrays(photo, inputs=MASKED, **options)


def test_arrays_that_are_no_photo():
    for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError, match='give uint8'):
            photo_arrays(array, inputs=MASKED)


def test_a_mask_that_may_be_of_the_stored_pixels_is_told(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(photo).save(tmp_path / 'photo.png', exif=exif)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 255
    path = save(tmp_path / 'mask.png', mask)
    with pytest.warns(UserWarning, match='photo.png: has an EXIF orientation, and a mask of the same size'):
        photo_arrays(tmp_path / 'photo.png', inputs=MASKED, mask=path)


@pytest.mark.skipif(not can_mask(), reason='needs OpenCV (extra mask)')
def test_automatic_mask_finds_an_object_that_stands_clear():
    rng = np.random.default_rng(0)
    photo = rng.normal(200, 6, size=(90, 120, 3)).clip(0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:90, :120]
    disc = (rows - 45) ** 2 + (columns - 70) ** 2 < 22**2
    photo[disc] = rng.normal(70, 6, size=(disc.sum(), 3)).clip(0, 255).astype(np.uint8)
    for box in (None, (40.0, 15.0, 100.0, 75.0)):
        found = auto_mask(photo, box=box)
        assert found.shape == (90, 120) and set(np.unique(found)) == {0, 255}
        object_found = found > 0
        assert (object_found & disc).sum() / (object_found | disc).sum() > 0.9
        np.testing.assert_array_equal(found, auto_mask(photo, box=box))  # no chance in it
    assert auto_mask(np.full((30, 30, 3), 128, np.uint8)).any()  # nothing to be told apart: the frame
    assert (auto_mask(photo, box=(0.0, 0.0, 120.0, 90.0)) == 255).all()  # no background to learn from
    inside = photo_arrays(photo, inputs=MASKED, mask='auto', box=(60.0, 0.0, 120.0, 90.0))['mask']
    assert inside.max() == 255


def test_without_opencv_an_automatic_mask_names_the_extra(photo, monkeypatch):
    monkeypatch.setattr(auto_mask_module, 'can_mask', lambda: False)
    with pytest.raises(DataError, match=r"pip install 'jaxret\[mask\]'"):
        photo_arrays(photo, inputs=MASKED, mask='auto')


def test_sheet_of_answers(tmp_path, photo):
    write_box(tmp_path / 'a.obj', 1, 2, 3)
    write_distances(tmp_path / 'a.sdf', grid_from_mesh(load_mesh(tmp_path / 'a.obj')))
    np.save(tmp_path / 'a.npy', np.random.default_rng(0).normal(size=(50, 3)))
    save(tmp_path / 'a.png', photo)
    picture = shape_record(tmp_path / 'a.obj', inputs=ShapeInputs('grid'), up_axis='y').thumbnail
    answers = []
    for number, (name, kind) in enumerate(
        (('a.png', 'photo'), ('a.obj', 'mesh'), ('a.npy', 'points'), ('a.sdf', 'scan'))
    ):
        shown = query_picture(QueryFile(tmp_path / name, kind), up_axis='y')
        assert shown.dtype == np.uint8 and shown.min() < 220
        hits = [Hit(rank + 1, f'{rank}\n\x07.obj', '', 0.5, None, None if number else 30.0) for rank in range(number)]
        answers.append(Row(f'{name}\n', shown, hits, [picture] * number))
    sheet = draw_answers(answers, title='four\nkinds')
    assert sheet.width >= 480 and sheet.height > 4 * 92
    cells = np.asarray(sheet.convert('L'))
    assert (cells[48:, 120:] < 200).any() and (cells[48:180, 130:] > 200).all()  # the first query has no hits
