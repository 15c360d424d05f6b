"""Masks of another folder than the data's own, such as predicted ones: found, checked and reported like those."""

import numpy as np
from PIL import Image
from pix3d_folders import write_folder, write_mask
from test_pix3d import problems_of, read


def test_masks_of_another_folder(tmp_path):
    root = tmp_path / 'data'
    entries = write_folder(root)
    own = read(root)
    for folder in ('mask_predicted', str(tmp_path / 'elsewhere')):
        for entry in entries:
            write_mask(root / folder / entry['mask'].removeprefix('mask/'))
        other = read(root, mask_dir=folder)
        assert [photo.mask for photo in other.photos] == [
            root / folder / photo.mask.relative_to(root / 'mask') for photo in own.photos
        ]
        assert other.fingerprint != own.fingerprint and other.masks == own.masks == ('files', 'files')
        assert other.split_table() == own.split_table()
    predicted = [root / 'mask_predicted' / entry['mask'].removeprefix('mask/') for entry in entries]
    predicted[0].unlink()
    predicted[1].write_bytes(b'no image')
    write_mask(predicted[2], size=(25, 19))
    Image.fromarray(np.zeros((18, 24), np.uint8)).save(predicted[3])
    predicted[4].unlink()
    predicted[4].symlink_to(root / entries[4]['mask'])  # links are followed
    problems = problems_of(root, mask_dir='mask_predicted', crop='mask')
    places = {problem.where for problem in problems}
    assert places == {str(path) for path in predicted[:4]} and len(problems) == 4
    (problem,) = problems_of(root, mask_dir='nowhere')
    assert problem.where == str(root / 'nowhere') and 'data.mask_dir does not exist' in problem.found
