"""Which masks photos of cars have: files, the whole photo, or, where it is asked for, the answer."""

import numpy as np
import pytest
from car_folders import write_cars, write_masks
from PIL import Image
from test_cars import DATASETS, problems_of, read

from jaxret.errors import ConfigError
from jaxret.preprocessing.photo_files import read_mask


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


def test_where_masks_come_from(root, tmp_path):
    names = write_cars(root, 'comp_cars')
    posed = {photo.name: read_mask(photo.mask) for photo in read(root).photos}
    framed = read(root, masks='frame')
    assert framed.masks == ('frame', 'frame')
    for photo in framed.photos:
        assert (read_mask(photo.mask) == 255).all() and read_mask(photo.mask).shape == (20, 30)
    write_masks(root / 'mask', posed)
    filed = read(root, masks='auto')
    assert filed.masks == ('files', 'files')
    assert all(photo.mask.is_relative_to(root / 'mask') for photo in filed.photos)
    dataset = read(root)  # with files, too
    assert dataset.masks == ('pose', 'pose')
    for photo in dataset.photos:
        np.testing.assert_array_equal(read_mask(photo.mask), posed[photo.name])
    for folder in ('predicted', str(tmp_path / 'elsewhere')):
        write_masks(root / folder, posed, level=254)
        other = read(root, masks='auto', mask_dir=folder)
        assert all(photo.mask.is_relative_to(root / folder) for photo in other.photos)
        assert other.fingerprint != filed.fingerprint
    (root / 'predicted' / 'image/0/1/2012/00002.png').unlink()
    (problem,) = problems_of(root, masks='auto', mask_dir='predicted')
    assert problem.found == 'missing' and problem.where.endswith('predicted/image/0/1/2012/00002.png')
    (problem,) = problems_of(root, masks='auto', mask_dir='nowhere')
    assert 'data.mask_dir does not exist' in problem.found and 'nowhere' in problem.where
    with pytest.raises(ConfigError, match="mask_dir='predicted': use no folder where masks=frame reads none"):
        read(root, masks='frame', mask_dir='predicted')
    filed.photos[2].mask.unlink()
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(filed.photos[4].mask)
    assert [(problem.where, problem.found) for problem in problems_of(root, masks='auto', crop='mask')] == [
        (str(filed.photos[2].mask), 'missing'),
        (str(filed.photos[4].mask), 'no object pixels'),
    ]
    assert len(problems_of(root, masks='auto')) == 2 and len(problems_of(root, masks='auto', empty_masks=True)) == 1
    assert len(read(root, masks='auto', on_bad_file='skip', crop='mask').photos) == 8
    assert names.keys() == {'train', 'test'}


@pytest.mark.parametrize('layout', DATASETS)
@pytest.mark.parametrize('mode', ['error', 'skip'])
def test_without_masks_the_choices_are_named(root, layout, mode):
    write_cars(root, layout)
    (problem,) = problems_of(root, layout, masks='auto', on_bad_file=mode)
    assert (problem.where, problem.found) == (str(root / 'mask'), 'missing')
    for choice in ('data.mask_dir', 'data.masks=frame', 'pose', 'uses the answer'):
        assert choice in problem.action


@pytest.mark.parametrize('stored', [False, True])
def test_test_photos_never_get_the_silhouette_of_their_shape_unless_it_is_asked_for(root, stored):
    write_cars(root, 'comp_cars')
    posed = {photo.name: read_mask(photo.mask) for photo in read(root).photos}
    options = {'masks': 'pose', 'val_fraction': 0.3}
    if stored:  # a run whose split is another one: a photo of train is its test photo
        table = read(root).split_table()
        moved = next(name for name, part in table.items() if part == 'train')
        options['split_table'] = table | {moved: 'test'}
    for files in (False, True):
        if files:
            write_masks(root / 'mask', posed)
        dataset = read(root, **options)
        assert dataset.masks == ('pose', 'files' if files else 'frame')
        assert {photo.split for photo in dataset.photos} >= {'train', 'test'}
        for photo in dataset.photos:
            mask = read_mask(photo.mask)
            if photo.split != 'test':
                np.testing.assert_array_equal(mask, posed[photo.name])
            else:
                assert photo.mask.is_relative_to(root / 'mask') if files else (mask == 255).all()
