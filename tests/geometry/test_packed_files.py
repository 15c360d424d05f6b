"""Compressed files, members of zip archives, 3MF and DAE files."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from box_files import BOX, SIDES, TRIANGLES, check_box, loaded, refusal
from gltf_files import built
from step_files import step_box, step_of_files

from jaxret.errors import DataError
from jaxret.geometry import places
from jaxret.geometry.formats import model_suffix, unread_format
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.places import locate, model_files, named_files
from jaxret.geometry.scenes import part_names
from jaxret.preprocessing.shapes import file_checksum

OFF = (
    'OFF\n8 12 0\n'
    + ''.join(f'{x} {y} {z}\n' for x, y, z in BOX)
    + ''.join(f'3 {a} {b} {c}\n' for a, b, c in TRIANGLES)
)


def packed(**members):
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_compressed_files(tmp_path):
    path = tmp_path / 'box.off.gz'
    check_box(loaded(path, gzip.compress(OFF.encode())))
    (tmp_path / 'box.off').write_text(OFF)
    assert file_checksum(path) == file_checksum(tmp_path / 'box.off')
    path.write_bytes(gzip.compress(b'OFF' + b' ' * 10**6))
    assert 'more than 100,000 bytes unpacked' in found(path, max_bytes=10**5)
    assert 'cannot be unpacked' in refusal(path, gzip.compress(OFF.encode())[:-20])
    assert 'cannot be unpacked' in refusal(path, b'no gzip at all')
    assert (model_suffix('a.STL.GZ'), model_suffix('a.stpz'), model_suffix('a.tar.gz')) == ('.stl', '.stp', '.tar')


def test_members_of_an_archive(tmp_path):
    gltf, buffer = built().gltf('shape.bin'), built().data
    files = {'a/box.off': OFF, 'a/b/box.off.gz': gzip.compress(OFF.encode()), 'g/s.gltf': gltf, 'g/shape.bin': buffer}
    archive = tmp_path / 'lib.zip'
    archive.write_bytes(packed(**files, **{'g/up.gltf': built().gltf('../../shape.bin')}))
    for name in ('a/box.off', 'a/b/box.off.gz', 'g/s.gltf'):
        check_box(load_mesh(archive / name))
        assert model_files(archive / name) == [archive]
    assert file_checksum(archive / 'a/box.off') == file_checksum(archive / 'a/b/box.off.gz')
    assert file_checksum(archive / 'g/s.gltf') != file_checksum(archive / 'a/box.off')
    assert 'outside its archive' in found(archive / 'g/up.gltf')
    assert 'no such member' in found(archive / 'a/other.off')
    assert 'an archive, not a model' in found(archive)
    assert 'bytes unpacked' in found(archive / 'a/box.off', max_bytes=20)
    (tmp_path / 'folder.zip').mkdir()
    (tmp_path / 'folder.zip/box.off').write_text(OFF)
    check_box(load_mesh(tmp_path / 'folder.zip/box.off'))
    assert locate(tmp_path / 'folder.zip/box.off').member == ''


def test_a_folder_of_an_archive_that_is_named_like_a_model(tmp_path):
    (tmp_path / 'lib.zip').write_bytes(packed(**{'bracket.step/box.off': OFF}))
    check_box(load_mesh(tmp_path / 'lib.zip/bracket.step/box.off'))


def test_what_a_member_names_counts_however_large_its_archive_is(tmp_path, monkeypatch):
    step = step_of_files([('box', 'box.step', (0, 0, 0))])
    monkeypatch.setattr(places, '_LARGEST_OF_NODES', len(step))
    for number, padding in enumerate((b'', np.random.default_rng(0).bytes(2 * len(step)))):
        archive = tmp_path / f'{number}.zip'
        archive.write_bytes(packed(**{'toy.step': step, 'box.step': step_box((1, 2, 3)), 'padding': padding}))
        assert [place.member for place in named_files(locate(archive / 'toy.step'))] == ['box.step']


def found(path, **options):
    with pytest.raises(DataError) as caught:
        load_mesh(path, **options)
    (problem,) = caught.value.problems
    return problem.found


def test_encrypted_members_and_damaged_archives(tmp_path):
    archive = tmp_path / 'lib.zip'
    data = bytearray(packed(**{'box.off': OFF}))
    for head, at in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
        data[data.index(head) + at] |= 1
    archive.write_bytes(data)
    assert 'encrypted' in found(archive / 'box.off')
    archive.write_bytes(packed(**{'box.off': OFF})[:-30])
    assert 'zip archive' in found(archive / 'box.off')


NUMBERS = ' '.join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in BOX)
FACES = ' '.join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in TRIANGLES)
MESH = f'<mesh><vertices>{NUMBERS}</vertices><triangles>{FACES}</triangles></mesh>'
LOOP = '<object id="1"><components><component objectid="1"/></components></object>'
LATTICE = 'xmlns:b="x/beamlattice" requiredextensions="b"'
CORE = 'http://schemas.microsoft.com/3dmanufacturing/core/2015/02'
PRODUCTION = 'http://schemas.microsoft.com/3dmanufacturing/production/2015/06'


COLORED = {'1': 'pid="5"', '2': 'pid="5" pindex="1"', '3': 'pid="5" pindex="2"', '4': 'pid="6" pindex="0"', '7': ''}


def model(resources, build, head='unit="inch"'):
    return (
        f'<?xml version="1.0"?><model xmlns="{CORE}" xmlns:p="{PRODUCTION}" {head}>'
        f'<metadata name="Title">Two boxes</metadata><resources>{resources}</resources><build>{build}</build></model>'
    )


def threemf(resources, build, head='unit="inch"', **others):
    return packed(**{'3D/3dmodel.model': model(resources, build, head), **others})


def test_threemf_units_components_and_names(tmp_path):
    path = tmp_path / 'a.3MF'
    mesh = loaded(path, threemf(f'<object id="1" name="box">{MESH}</object>', '<item objectid="1"/>'))
    check_box(mesh)
    assert (mesh.millimetres, mesh.name) == (25.4, 'Two boxes')
    parts = f'<object id="1" name="box">{MESH}</object><object id="2"><components>'
    parts += (
        '<component objectid="1"/><component objectid="1" transform="0 1 0 -1 0 0 0 0 1 10 0 0"/></components></object>'
    )
    item = '<item objectid="2" transform="2 0 0 0 2 0 0 0 2 0 0 100"/>'
    mesh = loaded(path, threemf(parts, item, head=''))
    assert mesh.millimetres == 1 and len(mesh.faces) == 24
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (0, 0, 100))
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (20, 4, 106))  # turned: x from 9 to 10, y from 0 to 2
    assert part_names(path) == []  # two places of one part


def test_threemf_colors(tmp_path):
    parts = (
        '<basematerials id="5"><base name="a" displaycolor="#FF8000FF"/><base name="b" displaycolor="#0000ff"/>'
        '<base name="c" displaycolor="blue"/></basematerials>'
    )
    objects = ''.join(f'<object id="{n}" {pid}>{MESH}</object>' for n, pid in COLORED.items())
    items = ''.join(f'<item objectid="{n}"/>' for n in (*COLORED, '1'))
    assert loaded(tmp_path / 'a.3mf', threemf(parts + objects, items)).colors == ('#ff8000', '#0000ff')


def test_threemf_parts_in_other_model_files(tmp_path):
    path = tmp_path / 'a.3mf'
    long = MESH.replace('x="2"', 'x="4"').replace('x="2.0"', 'x="4.0"')
    other = model(f'<object id="1" name="short">{MESH}</object><object id="2" name="long">{long}</object>', '')
    top = '<object id="7"><components><component p:path="/3D/o.model" objectid="2"/></components></object>'
    data = threemf(top, '<item objectid="7"/><item p:path="/3D/o.model" objectid="1"/>', **{'3D/o.model': other})
    assert len(loaded(path, data).faces) == 24
    assert sorted(part_names(path)) == ['long', 'short']
    check_box(load_mesh(path / 'long'), (4, 1, 3))
    check_box(load_mesh(path / 'short'))


def test_threemf_other_units_and_what_is_not_printed(tmp_path):
    other = model(f'<object id="1">{MESH}</object>', '', head='unit="meter"')
    top = (
        '<object id="7"><components><component p:path="/3D/o.model" objectid="1" transform="{}"/></components></object>'
    )
    place = top.format('1 0 0 0 1 0 0 0 1 5 0 0')
    hidden = f'<object id="8">{MESH}</object>'
    items = '<item objectid="7"/><item objectid="8" printable="0"/>'
    mesh = loaded(tmp_path / 'a.3mf', threemf(place + hidden, items, 'unit="centimeter"', **{'3D/o.model': other}))
    check_box(mesh, (200, 100, 300))  # metres in centimetres, moved by 5 of these
    assert mesh.vertices[:, 0].min() == BOX[:, 0].min() * 100 + 5 and mesh.millimetres == 10
    data = threemf(hidden, '<item objectid="8" printable="0"/>')
    check_box(loaded(tmp_path / 'a.3mf', data))  # nothing else is there


def test_threemf_starts_where_the_package_says_and_has_no_supports(tmp_path):
    relations = '<Relationships><Relationship Type="http://a/3dmodel" Target="/3D/Main.model"/></Relationships>'
    other = model('<object id="1">' + MESH.replace('x="2"', 'x="9"') + '</object>', '<item objectid="1"/>')
    support = f'<object id="2" type="support">{MESH}</object>'
    items = '<item objectid="1"/><item objectid="2" transform="1 0 0 0 1 0 0 0 1 50 0 0"/>'
    main = model(f'<object id="1">{MESH}</object>{support}', items)
    data = packed(**{'3D/a.model': other, '_rels/.rels': relations, '3D/Main.model': main})
    check_box(loaded(tmp_path / 'a.3mf', data))


@pytest.mark.parametrize(
    ('resources', 'build', 'head', 'reason'),
    [
        (f'<object id="1">{MESH}</object>', '', '', 'no items'),
        (f'<object id="1">{MESH}</object>', '<item objectid="2"/>', '', 'not in it'),
        (LOOP, '<item objectid="1"/>', '', 'themselves'),
        (f'<object id="1">{MESH}</object>', '<item objectid="1"/>', 'unit="mile"', 'unit'),
        (f'<object id="1">{MESH}</object>', '<item objectid="1"/>', LATTICE, 'needs the 3MF extension'),
        (f'<object id="1">{MESH.replace("2", "x")}</object>', '<item objectid="1"/>', '', 'not a readable 3MF'),
        (f'<object id="1">{MESH.replace("v1=", "v9=")}</object>', '<item objectid="1"/>', '', 'not a readable 3MF'),
        ('<object id="1"></object>', '<item objectid="1"/>', '', 'no triangles'),
    ],
)  # fmt: skip
def test_threemf_refused(tmp_path, resources, build, head, reason):
    assert reason in refusal(tmp_path / 'a.3mf', threemf(resources, build, head))


def test_bombs(tmp_path):
    path = tmp_path / 'a.3mf'
    levels = ''.join(
        f'<object id="{k}"><components>{f"<component objectid={chr(34)}{k - 1}{chr(34)}/>" * 10}</components></object>'
        for k in range(2, 12)
    )
    data = threemf(f'<object id="1">{MESH}</object>{levels}', '<item objectid="11"/>')
    assert 'too often' in refusal(path, data) or 'faces' in refusal(path, data)
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    text = model(f'<object id="1">{MESH}</object>', '<item objectid="1"/>').replace('?>', f'?>{entities}', 1)
    assert 'document type' in refusal(path, packed(**{'3D/3dmodel.model': text}))
    path.write_bytes(packed(**{'3D/3dmodel.model': ' ' * 10**6}))
    assert 'bytes unpacked' in found(path, max_bytes=10**5)


def collada(up, meter='0.0254'):
    """A box of quads, placed by a node."""
    counts = ' '.join('4' for _ in SIDES)
    corners = ' '.join(str(corner) for side in SIDES for corner in side)
    return f'''<?xml version="1.0"?>
    <COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
    <asset><title>A box</title><unit meter="{meter}"/><up_axis>{up}</up_axis></asset>
    <library_effects><effect id="e"><profile_COMMON><technique sid="t"><phong><diffuse><color>1 0.5 0 1</color>
    </diffuse></phong></technique></profile_COMMON></effect></library_effects>
    <library_materials><material id="a"><instance_effect url="#e"/></material></library_materials>
    <library_geometries><geometry id="g" name="box"><mesh>
    <source id="s"><float_array id="f" count="24">{' '.join(map(str, BOX.ravel()))}</float_array><technique_common>
    <accessor source="#f" count="8" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
    <param name="Z" type="float"/></accessor></technique_common></source>
    <vertices id="v"><input semantic="POSITION" source="#s"/></vertices>
    <polylist count="6" material="m"><input semantic="VERTEX" source="#v" offset="0"/><vcount>{counts}</vcount>
    <p>{corners}</p></polylist>
    </mesh></geometry></library_geometries>
    <library_visual_scenes><visual_scene id="w"><node id="n"><translate>0 0 10</translate>
    <instance_geometry url="#g"><bind_material><technique_common><instance_material symbol="m" target="#a"/>
    </technique_common></bind_material></instance_geometry></node></visual_scene></library_visual_scenes>
    <scene><instance_visual_scene url="#w"/></scene></COLLADA>'''


@pytest.mark.parametrize(
    ('up', 'low', 'extents'),
    [('Y_UP', (0, 0, 10), (2, 1, 3)), ('Z_UP', (0, 10, -1), (2, 3, 1)), ('X_UP', (-1, 0, 10), (1, 2, 3))],
)
@pytest.mark.parametrize('up_axis', ['y', 'z'])
def test_dae_says_what_is_up(tmp_path, up, low, extents, up_axis):
    pytest.importorskip('collada')
    path = tmp_path / 'a.dae'
    path.write_text(collada(up))
    mesh = load_mesh(path, up_axis=up_axis)
    check_box(mesh, extents)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), low, atol=1e-6)
    assert mesh.millimetres == pytest.approx(25.4) and mesh.name == 'A box' and mesh.colors == ('#ff8000',)


def test_dae_refused(tmp_path):
    pytest.importorskip('collada')
    path = tmp_path / 'a.dae'
    text = collada('Y_UP')
    assert 'not a readable DAE' in refusal(path, text[:-200])
    assert 'DAE file' in refusal(path, text.replace('source="#s"', 'source="#gone"'))
    assert 'document type' in refusal(path, text.replace('?>', '?><!DOCTYPE a [<!ENTITY b "c">]>', 1))
    assert 'zip archive' in refusal(path, packed(**{'a.dae': text}))


def test_formats_that_are_not_read():
    assert 'SolidWorks' in unread_format('a.SLDPRT') and 'unpack' in unread_format('a.tar.gz')
    assert unread_format('a.prt.12') == unread_format('a.prt') and 'STEP' in unread_format('a.asm.1')  # of Creo
    assert [unread_format(name) for name in ('a.txt', 'a.jpg', 'a.stl', 'a.3mf', 'a')] == [None] * 5
