"""STEP and IGES files: sizes in millimetres, assemblies, parts in other files, and what damaged ones give."""

import numpy as np
import pytest
import trimesh

pytest.importorskip('cascadio')
from box_files import check_box
from step_files import StepFile, step_assembly, step_box, step_of_files
from test_mesh_files import check_valid, problem

from jaxret.errors import DataError
from jaxret.geometry import cad_kernel, formats
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.scenes import part_names
from jaxret.workers import map_parallel


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Sound files need no process of their own."""
    monkeypatch.setattr(cad_kernel, 'apart', lambda: True)


def extents(mesh):
    return np.ptp(mesh.vertices, axis=0)


@pytest.mark.parametrize(('unit', 'millimetres'), [('mm', 1), ('in', 25.4), ('m', 1000)])
def test_step_in_every_unit(tmp_path, unit, millimetres, capfd):
    path = tmp_path / 'a.STEP'
    path.write_text(step_box((1, 2, 3), unit, name='Box 1'))
    mesh = load_mesh(path)
    assert (mesh.millimetres, mesh.name) == (1, 'Box 1')
    np.testing.assert_allclose(extents(mesh), np.array([1, 2, 3]) * millimetres, rtol=1e-6)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), 0, atol=1e-6)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert solid.is_watertight and solid.volume == pytest.approx(6 * millimetres**3, rel=1e-6)
    assert capfd.readouterr() == ('', '')
    np.testing.assert_allclose(extents(load_mesh(path, up_axis='z')), np.array([1, 3, 2]) * millimetres, rtol=1e-6)


def test_an_assembly_and_its_parts(tmp_path):
    path = tmp_path / 'toy.step'
    path.write_text(step_assembly())
    whole = load_mesh(path)
    assert whole.name == 'toy' and len(whole.faces) == 36
    np.testing.assert_allclose(extents(whole), (30, 20, 12), rtol=1e-6)
    assert sorted(part_names(path)) == ['pin_left', 'plate']
    pin = load_mesh(path / 'pin_left')
    assert pin.name == 'pin_left' and pin.millimetres == 1
    np.testing.assert_allclose(extents(pin), (2, 2, 10), rtol=1e-5)
    assert pin.vertices.min(axis=0)[2] == pytest.approx(2)  # where it stands in the assembly
    assert 'no part' in problem(path / 'pin')
    assert 'no part' in problem(path / 'pin_left/deeper')


def test_parts_in_other_files(tmp_path):
    (tmp_path / 'box.stp').write_text(step_box((1, 2, 3)))
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/inch.stp').write_text(step_box((1, 1, 1), 'in', name='MASTER'))
    (tmp_path / 'sub.stp').write_text(step_of_files([('x', 'box.stp', (0, 0, 10)), ('y', 'in/inch.stp', (0, 0, 20))]))
    top = tmp_path / 'top.stp'
    top.write_text(step_of_files([('left', 'sub.stp', (0, 0, 0)), ('right', 'sub.stp', (100, 0, 0))]))
    mesh = load_mesh(top)
    assert len(mesh.faces) == 4 * 12
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (0, 0, 10), atol=1e-5)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (125.4, 25.4, 45.4), atol=1e-4)
    assert sorted(part_names(top)) == ['box', 'inch']
    (tmp_path / 'box.stp').unlink()
    assert 'not beside it: box.stp' in problem(top)


@pytest.mark.parametrize(('file', 'found'), [('self.stp', 'part of itself'), ('../a/other.stp', 'outside its folder')])
def test_parts_that_are_not_opened(tmp_path, file, found):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    (tmp_path / 'a/other.stp').write_text(step_box((1, 2, 3)))
    path = tmp_path / 'b/self.stp'
    path.write_text(step_of_files([('x', file, (0, 0, 0))]))
    assert found in problem(path)


def test_without_surfaces(tmp_path):
    path = tmp_path / 'a.step'
    path.write_text(step_of_files([]))
    assert 'no surfaces in it' in problem(path)
    curves = StepFile()
    vector = curves.add(f"VECTOR('',{curves.direction((1, 0, 0))},1.)")
    line = curves.add(f"LINE('',{curves.point((0, 0, 0))},{vector})")
    ends = [curves.point((0, 0, 0)), curves.point((5, 0, 0))]
    curve = curves.add(f"TRIMMED_CURVE('',{line},({ends[0]}),({ends[1]}),.T.,.CARTESIAN.)")
    curves.product('curves', [curves.add(f"GEOMETRIC_CURVE_SET('',({curve}))")], 'SHAPE_REPRESENTATION')
    path.write_text(curves.text())
    assert 'no surfaces in it' in problem(path)


def test_a_sheet_is_a_mesh(tmp_path):
    path = tmp_path / 'a.step'
    file = StepFile()
    shell = file.box((1, 2, 3), 'OPEN_SHELL')
    file.product(
        'sheet', [file.add(f"SHELL_BASED_SURFACE_MODEL('',({shell}))")], 'MANIFOLD_SURFACE_SHAPE_REPRESENTATION'
    )
    path.write_text(file.text())
    np.testing.assert_allclose(extents(load_mesh(path)), (1, 2, 3), rtol=1e-6)


def test_triangles_follow_the_size_of_a_ball(tmp_path):
    counts = set()
    for radius in (0.5, 2000):
        file = StepFile()
        file.product('ball', [file.sphere(radius)])
        path = tmp_path / 'a.step'
        path.write_text(file.text())
        mesh = load_mesh(path)
        counts.add(len(mesh.faces))
        distances = np.linalg.norm(mesh.vertices[mesh.faces].mean(axis=1), axis=1) / radius
        assert distances.min() > 0.98 and np.ptp(mesh.vertices, axis=0) / radius == pytest.approx(2, abs=0.02)
    assert len(counts) == 1 and counts.pop() < 6000


def test_far_from_the_origin(tmp_path):
    path = tmp_path / 'a.step'
    for offset, reason in ((1e5, None), (1e7, 'from the origin')):
        file = StepFile()
        file.product('box', [file.solid((10, 10, 10), (offset, 0, 0))])
        path.write_text(file.text())
        if reason:
            assert reason in problem(path)
        else:
            np.testing.assert_allclose(extents(load_mesh(path)), 10, rtol=2e-3)


def test_damage_costs_only_the_file(tmp_path):
    """Cut off, bytes changed, references and numbers replaced: one reason, or a mesh."""
    data, generator = step_assembly().encode(), np.random.default_rng(3)
    path = tmp_path / 'a.step'
    path.write_bytes(data[:-40])
    assert 'cut off' in problem(path)
    path.write_bytes(b'solid\n' + data[20:])
    assert 'no STEP file' in problem(path)
    paths = [tmp_path / f'{trial}.step' for trial in range(3)]
    for trial, path in enumerate(paths):
        words = data.split(b',')
        for place in generator.integers(30, len(words), size=6):
            words[place] = (b'#1', b'1.E400', b'$', b"'", b'#99999', b'')[trial % 6]
        path.write_bytes(b','.join(words))
    refused = 0
    for number, result in map_parallel(load_mesh, paths, processes=2, timeout=60):
        if isinstance(result, DataError):  # or the kernel has crashed, which costs only this file
            refused += 1
            assert len(result.problems) == 1 and str(paths[number]) in str(result)
        else:
            check_valid(result)
    assert refused


def test_a_process_of_its_own_where_this_one_reads(tmp_path, monkeypatch, capfd):
    monkeypatch.undo()
    path = tmp_path / 'a.step'
    path.write_text(step_box((1, 2, 3)))
    check_box(load_mesh(path), (1, 2, 3))
    assert capfd.readouterr() == ('', '')


def test_iges_in_millimetres(tmp_path):
    path = tmp_path / 'a.igs'
    for unit, length in (('1,2HIN', 25.4), ('2,2HMM', 1)):
        path.write_text(iges_square(unit))
        mesh = load_mesh(path)
        np.testing.assert_allclose(extents(mesh), (3 * length, 2 * length, 0), atol=1e-4)
    path.write_text(iges_square('2,2HMM')[:-90])
    assert 'cut off' in problem(path)


def iges_square(unit):
    """A flat face of 3 x 2: a ruled surface between two lines."""
    start = ['square']
    # delimiters, product, file, system, version, integer and real sizes, receiver, scale, unit, line weights, time, ...
    fields = f',,3Hbox,5Hb.igs,4Htest,1H1,32,38,6,38,15,,1.,{unit},1,0.01,15H20200101.000000,0.0001,10.,,,11,0,;'
    entities = [
        (110, '110,0.,0.,0.,3.,0.,0.;', '00010000'),
        (110, '110,0.,2.,0.,3.,2.,0.;', '00010000'),
        (118, '118,1,3,0,0;', '00000000'),
    ]
    directory, parameters = [], []
    for number, (kind, text, status) in enumerate(entities):
        directory.append(f'{kind:8}{number + 1:8}{0:8}{0:8}{0:8}{0:8}{0:8}{0:8}{status:>8}')
        directory.append(f'{kind:8}{0:8}{0:8}{1:8}{0 if kind == 110 else 1:8}{0:8}{0:8}{"":8}{0:8}')
        parameters.append(f'{text:64}{2 * number + 1:8}')
    lines = []
    for letter, section in (('S', start), ('G', [fields[:72], fields[72:]]), ('D', directory), ('P', parameters)):
        lines += [f'{line:72}{letter}{number:7}' for number, line in enumerate(section, 1)]
    counts = f'S{1:7}G{2:7}D{len(directory):7}P{len(parameters):7}'
    return '\n'.join([*lines, f'{counts:72}T{1:7}']) + '\n'


def test_without_the_extra_the_reason_names_it(tmp_path, monkeypatch):
    path = tmp_path / 'a.step'
    path.write_text(step_box((1, 2, 3)))
    monkeypatch.setattr(formats, 'find_spec', lambda name: None)
    assert formats.unread_format('a.step') == formats.CAD_EXTRA
    monkeypatch.setattr('jaxret.optional_packages.importlib.import_module', missing)
    with pytest.raises(DataError, match=r"a STEP file needs cascadio; pip install 'jaxret\[cad\]'"):
        load_mesh(path)


def missing(name):
    raise ModuleNotFoundError(name=name)
