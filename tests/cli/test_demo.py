"""The folder of `jaxret demo`: models that can be indexed, photos of them with masks, a list of known photos."""

import numpy as np
from PIL import Image

from jaxret.cli import main as cli
from jaxret.cli.demo import obj_file
from jaxret.geometry.mesh import load_mesh
from jaxret.index.photo_lists import read_photo_list


def test_the_demo_can_be_indexed_searched_and_taught(tmp_path, capsys):
    folder = tmp_path / 'a demo'
    assert cli.main(['demo', str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"next: jaxret index --models '{folder}/models' --out models.index\n")
    models = sorted(folder.glob('models/*/*.obj'))
    assert len(models) == 16 and {path.parent.name for path in models} == {'chair', 'lamp', 'shelf', 'table'}
    assert len({path.read_bytes() for path in models}) == 16
    for path in models[::5]:
        mesh = load_mesh(path)
        assert mesh.vertices[:, 1].min() == 0 and np.ptp(mesh.vertices[:, 1]) > 0.3  # stands upright on the ground
    lines = read_photo_list(folder / 'photos.csv', models={f'{path.parent.name}/{path.name}' for path in models})
    shown = [line.model for line in lines]
    assert {path.name for path in (folder / 'photos').iterdir()} == {line.photo.name for line in lines}  # no masks
    assert len(lines) == 31 and sum(shown.count(model) >= 2 for model in set(shown)) >= 5  # enough for `jaxret fit`
    photo, mask = (np.asarray(Image.open(folder / name)) for name in ('chair.jpg', 'chair-mask.png'))
    assert photo.shape == (*mask.shape, 3) and 0.05 < (mask == 255).mean() < 0.6 and set(np.unique(mask)) == {0, 255}
    assert cli.main(['demo', str(folder)]) == 1
    assert 'is there already; name a new folder' in capsys.readouterr().err


def test_a_prism_is_closed_and_faces_outwards(tmp_path):
    (tmp_path / 'box.obj').write_text(obj_file([(np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]), 0.0, 3.0)]))
    mesh = load_mesh(tmp_path / 'box.obj')
    corners = mesh.vertices[mesh.faces]
    assert np.einsum('fc,fc->', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6 == 12.0
