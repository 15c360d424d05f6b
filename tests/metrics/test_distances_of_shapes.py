"""Modified Hausdorff distance and IoU of the answered shapes: values, one comparison a pair, unusable meshes."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.metrics import shape_distances as shape_metrics
from jaxret.metrics.shape_distances import compare_shapes

SMALL = {'points': 400, 'resolution': 24, 'progress': False}
# Boxes as corner signs and quads: x y z sides are put in by `write_box`.
_QUADS = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))


def write_box(path, sides):
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    lines = ['v ' + ' '.join(str(c * s + 3) for c, s in zip(corner, sides, strict=True)) for corner in corners]
    lines += ['f ' + ' '.join(map(str, quad)) for quad in _QUADS]
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.fixture
def boxes(tmp_path):
    """Boxes of sides 2x2x2, 2x1x2, 2x1x1 and the first one at another scale and place."""
    sides = [(2, 2, 2), (2, 1, 2), (2, 1, 1), (40, 40, 40)]
    return [write_box(tmp_path / f'{i}.obj', side) for i, side in enumerate(sides)]


def test_values_of_boxes(boxes):
    true, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 2, 0, 2])
    result = compare_shapes(boxes, true, predicted, **SMALL)
    # After normalisation the boxes are nested in the unit cube: IoU is the ratio of volumes.
    np.testing.assert_allclose(result.iou, [1, 1 / 2, 1 / 4, 1 / 2, 1], atol=0.06)
    assert result.hausdorff[0] == result.hausdorff[4] == 0
    assert result.hausdorff[1] == result.hausdorff[3]  # symmetric
    assert 0.05 < result.hausdorff[1] < result.hausdorff[2] < 0.3


def test_scale_and_place_of_the_file_do_not_matter(boxes):
    result = compare_shapes(boxes, [0], [3], **SMALL)
    assert result.iou[0] == pytest.approx(1, abs=1e-6)
    assert result.hausdorff[0] < 0.05  # not 0: another file, though of the same shape


def test_each_mesh_is_prepared_once_and_each_pair_compared_once(boxes, monkeypatch):
    prepared, compared = [], []
    prepare, distances = shape_metrics._prepare, shape_metrics._distances
    monkeypatch.setattr(shape_metrics, '_prepare', lambda path, **kw: prepared.append(path) or prepare(path, **kw))
    monkeypatch.setattr(shape_metrics, '_distances', lambda a, b: compared.append((a, b)) or distances(a, b))
    compare_shapes(boxes, [0, 1, 0, 1, 2, 2], [1, 0, 1, 1, 2, 0], **SMALL)
    assert sorted(path for path, _ in prepared) == boxes[:3]
    assert len(compared) == 2
    prepared.clear()
    compare_shapes(boxes, [0, 1], [0, 1], **SMALL)
    assert not prepared  # only hits: no mesh is needed


def test_little_memory_and_processes_give_the_same_numbers(boxes):
    true, predicted = np.array([0, 0, 1, 1, 2, 3]), np.array([1, 2, 2, 3, 3, 0])
    whole = compare_shapes(boxes, true, predicted, **SMALL)
    tight = compare_shapes(boxes, true, predicted, memory_shapes=2, **SMALL)
    spread = compare_shapes(boxes, true, predicted, processes=2, **SMALL)
    for other in (tight, spread):
        np.testing.assert_array_equal(other.hausdorff, whole.hausdorff)
        np.testing.assert_array_equal(other.iou, whole.iou)


def test_each_file_may_have_its_own_up_axis(boxes, tmp_path):
    lying = write_box(tmp_path / 'lying.obj', (1.0, 0.6, 0.3))  # as a z-up file: 0.3 high
    standing = write_box(tmp_path / 'standing.obj', (1.0, 0.3, 0.6))
    mixed = compare_shapes([lying, standing], [0], [1], up_axis=['z', 'y'], **SMALL)
    assert mixed.iou.tolist() == [1.0]
    assert compare_shapes([lying, standing], [0], [1], **SMALL).iou[0] < 0.7
    with pytest.raises(ValueError, match='shorter'):
        compare_shapes([lying, standing], [0], [1], up_axis=['z'], **SMALL)


def test_unknown_true_shape_gives_nan(boxes):
    result = compare_shapes(boxes, [-1, -1, 0], [1, -1, 1], **SMALL)
    np.testing.assert_array_equal(np.isnan(result.hausdorff), [True, True, False])
    np.testing.assert_array_equal(np.isnan(result.iou), [True, True, False])


def test_unusable_meshes_are_all_named_or_skipped(boxes, tmp_path):
    (tmp_path / 'empty.obj').write_text('')
    paths = [*boxes, tmp_path / 'empty.obj', tmp_path / 'missing.obj']
    with pytest.raises(DataError) as caught:
        compare_shapes(paths, [0, 0, 1], [4, 5, 0], **SMALL)
    assert len(caught.value.problems) == 2
    assert 'empty.obj' in str(caught.value) and 'missing.obj' in str(caught.value)
    result = compare_shapes(paths, [0, 0, 1], [4, 5, 0], on_bad_file='skip', **SMALL)
    assert len(result.problems) == 2
    np.testing.assert_array_equal(np.isfinite(result.iou), [False, False, True])


def test_wrong_arguments_are_refused(boxes):
    for true, predicted, extra in (
        ([0], [4], {}),
        ([0, 1], [0], {}),
        ([0], [1], {'on_bad_file': 'ignore'}),
        ([0], [1], {'memory_shapes': 1}),
    ):
        with pytest.raises(DataError):
            compare_shapes(boxes, true, predicted, **extra, **SMALL)
