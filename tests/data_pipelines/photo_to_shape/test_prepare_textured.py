"""Prepared textured views are made again where a material or a texture has changed."""

import numpy as np
from PIL import Image
from pix3d_folders import write_folder

from data_pipelines.photo_to_shape.pix3d import read_pix3d
from data_pipelines.photo_to_shape.prepare import load_gallery, prepare
from jaxret.geometry.render import ViewRing, render_file


def test_a_changed_material_is_rendered_again(tmp_path):
    write_folder(tmp_path / 'data')
    dataset = read_pix3d(tmp_path / 'data', check_processes=1, progress=False)
    path = dataset.shapes[0].path
    path.write_text(f'mtllib {path.stem}.mtl\nusemtl wood\n{path.read_text()}')
    dataset = read_pix3d(tmp_path / 'data', check_processes=1, progress=False)

    def views(shading):
        ring = ViewRing(views=2, size=8, shading=shading)
        found = load_gallery(prepare(dataset, ring, size=8, cache_dir=tmp_path / 'cache', processes=1, progress=False))
        expected = render_file(path, ring)
        np.testing.assert_array_equal(found.views[0], expected if expected.ndim == 4 else expected[..., None])
        return len([folder for folder in (tmp_path / 'cache').iterdir() if folder.is_dir()])

    assert views('grey') == 1 and views('textured') == 2
    path.with_suffix('.mtl').write_text('newmtl wood\nKd 1 0 0\nmap_Kd wood.png\n')
    assert views('grey') == 2 and views('textured') == 3 and views('textured') == 3
    Image.new('RGB', (4, 4), (9, 90, 20)).save(path.parent / 'wood.png')
    assert views('grey') == 3 and views('textured') == 4
