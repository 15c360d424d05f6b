"""Groups of models that are alike, of a folder and of an index, and that few pairs are compared."""

import json

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from small_index import PlainModel, write_box

from jaxret.cli import main as cli
from jaxret.geometry.signatures import LENGTH, Signatures
from jaxret.index.build import update_index
from jaxret.index.duplicate_groups import EqualModels, like_groups
from jaxret.index.duplicates import find_duplicates, folder_models, index_models
from jaxret.index.like_shapes import Joined, find_links
from jaxret.preprocessing.shape_pairs import BYTES, MESH, MIRRORED, NEAR, SHAPE, Likeness, Traits

TURN = Rotation.from_euler('xyz', [1, 2, 3]).as_matrix()


def hand():
    """Three arms of different lengths, which no turn brings onto their mirror image."""
    parts = (((4, 1, 1), (2, 0, 0)), ((1, 3, 1), (0, 1.5, 0)), ((1, 1, 2), (0, 0, 1)))
    made = [trimesh.creation.box(extents=extents).apply_translation(middle) for extents, middle in parts]
    return trimesh.util.concatenate(made)


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    mesh = hand()
    mesh.export(folder / 'a.off')
    (folder / 'a_copy.off').write_bytes((folder / 'a.off').read_bytes())
    mesh.export(folder / 'a.stl')
    turned = trimesh.Trimesh(mesh.vertices @ TURN.T * 25.4 + 7, mesh.faces, process=False)
    turned.export(folder / 'turned.ply')
    trimesh.Trimesh(mesh.vertices * [1, 1, -1], mesh.faces[:, ::-1], process=False).export(folder / 'mirrored.obj')
    longer = mesh.vertices.copy()
    longer[longer[:, 1] > 2, 1] += 0.04
    trimesh.Trimesh(longer, mesh.faces, process=False).export(folder / 'longer.off')
    write_box(folder / 'box.obj', 1, 2, 5)
    (folder / 'broken.off').write_text('OFF\n3 1 0\n')
    return folder


def check(groups):
    same, mirrored, near = groups
    assert (same.kind, mirrored.kind, near.kind) == (SHAPE, MIRRORED, NEAR)
    assert same.members[0] == 'a.off' and set(same.members[1:]) == {'a_copy.off', 'a.stl', 'turned.ply'}
    kinds = {one.id: one.likeness.kind for one in same.evidence}
    assert kinds == {'a_copy.off': BYTES, 'a.stl': MESH, 'turned.ply': SHAPE}
    (turned,) = (one for one in same.evidence if one.id == 'turned.ply')
    assert turned.likeness.factor == pytest.approx(25.4) and turned.units == 'inches and millimetres'
    assert mirrored.members == ['a.off', 'mirrored.obj'] and near.members == ['longer.off', 'a.off', 'mirrored.obj']
    assert near.evidence[0].likeness.distance == pytest.approx(0.04 / 4.5, rel=0.2)


def test_of_a_folder(models):
    entries, problems = folder_models(models)
    found = find_duplicates(entries, processes=1, progress=False, keep=True)
    assert not problems and [problem.where for problem in found.problems] == [str(models / 'broken.off')]
    check(found.groups)
    assert found.groups[0].keep == ['a.off', 'turned.ply'] and not found.groups[1].keep


def test_of_an_index_without_reading_signatures_again(models, tmp_path, monkeypatch):
    update_index(tmp_path / 'index', PlainModel(), models, processes=1, progress=False)
    monkeypatch.setattr('jaxret.index.duplicates.read_signature', None)
    entries = index_models(tmp_path / 'index')
    assert [entry.id for entry in entries] == sorted(entry.id for entry in entries) and len(entries) == 7
    check(find_duplicates(entries, processes=1, progress=False).groups)


def test_command(models, tmp_path, capsys):
    out = [f'--{kind}={tmp_path / kind}' for kind in ('json', 'csv', 'out')]
    assert cli.main(['duplicates', f'--models={models}', '--processes=1', '--keep', *out]) == 0
    text, errors = capsys.readouterr()
    counts = [line.split('│')[1:4] for line in text.splitlines() if '│' in line]
    assert [[int(n) for n in row[1:]] for row in counts] == [[1, 2], [1, 2], [1, 2], [1, 2], [1, 3]]
    assert 'keep a.off' in text and '25.4 times as large (inches and millimetres)' in text and 'broken.off' in errors
    (same, *_) = json.loads((tmp_path / 'json').read_text())['groups']
    assert same['class'] == SHAPE and len(same['members']) == 4 and same['keep'] == ['a.off', 'turned.ply']
    lines = (tmp_path / 'csv').read_text().splitlines()
    assert lines[0].startswith('group,class,id,like') and lines[1].startswith('1,same shape,a.off,')
    page = (tmp_path / 'out/index.html').read_text()
    assert (
        '>a.off<' in page
        and 'turned.ply: same shape' in page
        and 'synthetic sample' not in page
        and len(list((tmp_path / 'out/images').glob('view-*.png'))) >= 4
    )
    assert cli.main(['duplicates', f'--models={models}', '--processes=1']) == 0
    assert capsys.readouterr().out.endswith(f'next: jaxret duplicates --models {models} --out duplicates\n')


def test_outputs_are_refused_before_the_work(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('jaxret.cli.duplicates.find_duplicates', None)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/index.html').write_text('of someone else')
    for option, words in ((f'--out={tmp_path}/other', 'not a report'), (f'--csv={tmp_path}/none/x.csv', 'no folder')):
        assert cli.main(['duplicates', f'--models={models}', option]) == 1
        assert words in capsys.readouterr().err
    assert (tmp_path / 'other/index.html').read_text() == 'of someone else'


def traits(radius=1.0, millimetres=None, closed=True, inside_out=False):
    return Traits(closed, inside_out, 2 * radius, radius, millimetres)


def test_what_equal_models_say_of_each_other():
    ids = ['long/a.stl', 'a.stl', 'b.stl', 'c.step', 'mirror.stl', 'mirror.obj']
    known = dict(enumerate([traits(25.4), traits(25.4), traits(inside_out=True), traits(1, 1.0), traits(), traits()]))
    mirrored = Likeness(MIRRORED, 0.001, 0.0001, 25.4, True)
    links = [
        (0, 1, Likeness(BYTES)),
        (0, 2, Likeness(SHAPE, 0.0002, 0.0001, 1 / 25.4)),
        (2, 3, Likeness(SHAPE)),
        (4, 5, Likeness(BYTES)),
        (4, 1, mirrored),
        (1, 3, Likeness(MIRRORED, 0.0009, 0.0001, 1 / 25.4, True)),  # of equal models: not told
    ]
    equal = EqualModels(ids, links, known)
    assert equal.unproved() == [(3, 1)]
    equal.add(3, 1, Likeness(SHAPE, 0.0004, 0.0001, 25.4))
    (same, copies), (near,) = equal.groups(keep=True), like_groups(equal)
    assert same.members == ['c.step', 'a.stl', 'long/a.stl', 'b.stl'] and copies.members == ['mirror.obj', 'mirror.stl']
    told = {one.id: (one.like, one.likeness.kind, one.likeness.factor, one.inside_out) for one in same.evidence}
    assert told['a.stl'] == ('c.step', SHAPE, 25.4, False) and same.evidence[0].units == 'inches and millimetres'
    assert told['long/a.stl'] == ('a.stl', BYTES, 1, False) and told['b.stl'][0::3] == ('c.step', True)
    assert same.keep == ['c.step', 'a.stl']  # the numbers of b.stl are those of c.step
    assert near.kind == MIRRORED and near.members == ['c.step', 'mirror.obj'] and not near.keep
    assert near.evidence[0].likeness.factor == pytest.approx(1) and near.evidence[0].like == 'c.step'


def test_each_declared_size_is_kept_and_near_groups_have_the_most_central_first():
    sizes = [traits(10, 1.0), traits(10, 1000.0), traits(0.01, 1000.0), traits(1, 25.4)]
    ids = ['ten.step', 'large.step', 'ten.glb', 'inch.3mf']
    links = [(0, number, Likeness(SHAPE)) for number in (1, 2, 3)]
    (group,) = EqualModels(ids, links, dict(enumerate(sizes))).groups(keep=True)
    assert group.keep == ['ten.step', 'large.step', 'inch.3mf']
    near = [(0, 1, Likeness(NEAR, 0.1, 0.004)), (1, 2, Likeness(NEAR, 0.1, 0.001)), (0, 2, Likeness(NEAR, 0.1, 0.002))]
    (group,) = like_groups(EqualModels(ids, near, dict(enumerate(sizes))))
    assert group.members == ['ten.glb', 'large.step', 'ten.step']


def test_a_large_class_costs_few_comparisons(tmp_path):
    count = 60
    signatures = np.zeros((count, LENGTH), np.float32)
    signatures[:, :2] = np.arange(count)[:, None]  # other triangles
    signatures[:, 20] = (np.arange(count) % 3) * 0.001  # three shapes that look alike
    compared = []

    def compare(pair):
        compared.append(pair)
        return Likeness(SHAPE) if (pair[0] - pair[1]) % 3 == 0 else None

    keys = [str(number) for number in range(count)]
    known = Signatures.of(signatures)
    links, problems = find_links(range(count), keys, known, processes=1, progress=False, compare=compare)
    assert groups_of(count, links) == 3 and not problems and len(compared) <= 3 * count
    equal = Signatures.of(np.zeros((500, LENGTH), np.float32))
    links, _ = find_links(range(500), ['one'] * 400 + keys + keys[:40], equal, processes=1, progress=False)
    assert sorted({like.kind for _, _, like in links}) == [BYTES, MESH] and len(links) == 499


def groups_of(count, links):
    joined = Joined(count)
    for one, other, _ in links:
        joined.join(one, other)
    return len({joined.root(number) for number in range(count)})
