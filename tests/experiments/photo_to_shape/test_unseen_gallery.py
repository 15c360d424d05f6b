"""Photos that search a gallery which their run never saw: which photos can, answers, distances, broken models."""

import numpy as np
import pytest
import trimesh
from overrides import load_config
from photo_to_shape.unseen_gallery import compare_unseen, own_shapes, prepare_unseen, read_unseen

from data_pipelines.photo_to_shape.dataset import PhotoDataset, ShapeEntry
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from data_pipelines.photo_to_shape.sample_shapenet import write_shapenet_sample
from data_pipelines.photo_to_shape.shapenet import read_shapenet
from jaxret.errors import DataError
from jaxret.geometry.render import ViewRing

BOOKSHELF, CHAIR, TABLE = '02871439', '03001627', '04379243'
CATEGORIES = ('bookcase', 'chair', 'sofa')  # of the photos, in Pix3D's words
RING = ViewRing(views=2, size=12)
SIDES = (0.2, 0.5, 0.8)  # of true shapes, along y


def write_box(path, side):
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box((1.0, side, 0.5)).export(path)


@pytest.fixture
def place(tmp_path):
    """Config of a run, its photos and their gallery; an unseen gallery of boxes, none of which is a sofa."""
    for synset, sides in ((BOOKSHELF, (0.2, 0.9)), (CHAIR, (0.3, 0.5, 0.7)), (TABLE, (0.4,))):
        for number, side in enumerate(sides):
            path = tmp_path / 'shapenet' / synset / f'm{number}' / 'model.obj'
            write_box(path, side)
            path.write_text(f'# {synset}\n{path.read_text()}')
    for number, side in enumerate(SIDES):
        write_box(tmp_path / 'own' / f'{number}.obj', side)
    config, _ = load_config('pix3d.py:smoke')
    config.cache_dir, config.processes, config.data.image_size = str(tmp_path / 'cache'), 1, 12
    config.evaluation.unseen_dir = str(tmp_path / 'shapenet')
    config.evaluation.points, config.evaluation.voxels = 200, 20
    paths = [tmp_path / 'own' / f'{number}.obj' for number in range(3)]
    gallery = GalleryTable(np.zeros((3, 2, 12, 12, 1), np.uint8), np.arange(3, dtype=np.int32), list('abc'), paths)
    shape = np.array([0, 1, 1, 2, 0], np.int32)
    test = QueryTable([], [], shape, shape, [f'{number}.jpg' for number in range(5)])
    layout = PhotoDataset(
        root=tmp_path,
        photos=(),
        shapes=tuple(ShapeEntry(str(path), path, 'chair') for path in paths),
        categories=CATEGORIES,
        skipped=(),
        required_splits=(),
        up_axis='y',
        fingerprint='',
    )
    return config, layout, test, gallery


def prepared(place, trained_on=()):
    config, layout, test, _ = place
    return prepare_unseen(config, read_unseen(config), RING, layout, test, trained_on=trained_on)


def test_photos_whose_category_is_missing_are_named_or_left_out(place):
    with pytest.raises(DataError) as caught:
        prepared(place)
    (problem,) = caught.value.problems
    assert problem.found == "no shape of category 'sofa', which 1 test photos are of"
    place[0].on_bad_file = 'skip'
    unseen = prepared(place)
    assert unseen.own and unseen.queries.tolist() == [0, 1, 2, 4] and unseen.skipped == (problem,)
    assert [unseen.names[c] for c in unseen.query_category] == ['bookshelf', 'chair', 'chair', 'bookshelf']
    assert [unseen.names[c] for c in unseen.gallery.category] == ['bookshelf'] * 2 + ['chair'] * 3 + ['table']
    place[0].evaluation.unseen_categories = 'all'
    unseen = prepared(place)
    assert unseen.queries.tolist() == list(range(5)) and unseen.skipped == () and unseen.names[-1] == 'sofa'
    assert unseen.gallery.views.shape == (6, 2, 12, 12, 1) and (unseen.gallery.views < 255).any(axis=(1, 2, 3, 4)).all()


def test_the_runs_own_shapes_are_left_out_and_counted(place, tmp_path):
    config, layout, test, gallery = place
    config.on_bad_file = 'skip'
    write_box(tmp_path / 'shapenet' / CHAIR / 'renamed' / 'model.obj', SIDES[1])  # the file of a shape of the run
    read = read_unseen(config)
    assert own_shapes(read, layout, ()) == [f'{CHAIR}/renamed']
    trained_on = [f'{CHAIR}/m0', 'model/bookcase/m1/model.obj', 'model/bookcase/m9/m0.obj']  # ids as folder and file
    unseen = prepared(place, trained_on)
    left = [f'{BOOKSHELF}/m0', f'{BOOKSHELF}/m1', f'{CHAIR}/m0', f'{CHAIR}/m1', f'{CHAIR}/renamed', f'{TABLE}/m0']
    assert unseen.left_out == len(left) and unseen.gallery.names == [f'{CHAIR}/m2']
    said = [problem.found for problem in unseen.skipped if "are the run's own" in problem.found]
    assert said == [f"6 of 7 shapes are the run's own: {', '.join(left[:3])}, ..."]
    scores = np.zeros((len(unseen.queries), 1))
    assert compare_unseen(config, unseen, scores, test, gallery, answers=5)[0]['unseen_left_out'] == 6
    with pytest.raises(DataError, match='7 of 7 shapes'):
        prepared(place, [*trained_on, f'{CHAIR}/m2'])


def test_answers_are_compared_with_the_true_shapes(place):
    config, _, test, gallery = place
    config.on_bad_file = 'skip'
    unseen = prepared(place)
    scores = np.array(
        [[0.1, 0.0, 9, 9, 9, 9], [9, 9, 0.3, 0.1, 0.2, 9], [9, 9, 0.1, 0.3, 0.2, 9], [0.0, 0.1, 9, 9, 9, 9]]
    )
    metrics, order, distances, problems = compare_unseen(config, unseen, scores, test, gallery, answers=5)
    assert problems == () and order.tolist() == [
        [0, 1, -1, -1, -1],
        [2, 4, 3, -1, -1],
        [3, 4, 2, -1, -1],
        [1, 0, -1, -1, -1],
    ]
    # the true sides are .2, .5, .5, .2; of the answers .2, .3, .5, .9
    np.testing.assert_allclose(distances['iou'], [1, 0.6, 1, 2 / 9], atol=0.08)
    assert distances['hausdorff'][2] < distances['hausdorff'][1] < distances['hausdorff'][3]
    assert metrics['unseen_iou'] == pytest.approx(distances['iou'].mean())
    rows = metrics['unseen_per_category']
    assert rows['chair']['queries'] == 2 and rows['chair']['gallery'] == 3 and rows['bookshelf']['gallery'] == 2
    assert 0 < rows['chair']['iou_chance'] <= 1
    changed = scores * np.array([[1], [1], [1], [-1]])
    both = compare_unseen(config, unseen, scores, test, gallery, answers=5, untrained={'other': changed})[0]
    other = compare_unseen(config, unseen, changed, test, gallery, answers=5)[0]
    assert both['unseen_comparators']['other']['unseen_iou'] == other['unseen_iou'] != metrics['unseen_iou']
    assert both['unseen_iou'] == metrics['unseen_iou']
    config.data.up_axis = 'z'  # of the run's own files: its boxes now lie on another side
    turned = compare_unseen(config, unseen, scores, test, gallery, answers=5)[2]
    assert turned['iou'][2] == pytest.approx(1, abs=0.08) and turned['iou'][0] < 0.6


def test_one_in_ten_models_is_broken(place, tmp_path):
    config, layout, test, _ = place
    for number in range(3, 14):
        write_box(tmp_path / 'shapenet' / CHAIR / f'm{number}' / 'model.obj', 1.0)
    broken = [tmp_path / 'shapenet' / CHAIR / name / 'model.obj' for name in ('m4', 'm9')]
    broken[0].write_text('v 0 0 0\n')
    broken[1].write_bytes(b'')
    with pytest.raises(DataError) as caught:
        read_unseen(config)
    assert {problem.where for problem in caught.value.problems} == {str(path) for path in broken}
    config.on_bad_file = 'skip'
    found = read_unseen(config)
    assert len(found.shapes) == 15 and {problem.where for problem in found.skipped} == {str(path) for path in broken}
    unseen = prepare_unseen(config, found, RING, layout, test, trained_on=())
    assert len(unseen.gallery.names) == 15
    assert {problem.where for problem in unseen.skipped} >= {str(path) for path in broken}


def test_no_gallery_is_named(place):
    place[0].evaluation.unseen_dir = ''
    assert read_unseen(place[0]) is None


def test_the_sample_gallery(tmp_path):
    root = write_shapenet_sample(tmp_path / 'shapes', shapes_per_category=2)
    layout = read_shapenet(root, check_processes=1, progress=False)
    assert layout.categories == ('bed', 'chair', 'sofa', 'table') and len(layout.shapes) == 8
    content = {path: path.read_bytes() for path in root.rglob('*.obj')}
    again = write_shapenet_sample(tmp_path / 'again', shapes_per_category=2)
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob('*.obj')} == {
        path.relative_to(root): data for path, data in content.items()
    }
    assert len(set(content.values())) == 8 and all(path.with_suffix('.mtl').exists() for path in content)
    write_shapenet_sample(root, shapes_per_category=2)
    assert {path: path.read_bytes() for path in root.rglob('*.obj')} == content
