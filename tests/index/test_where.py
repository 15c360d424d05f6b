"""Conditions on the facts of shapes: what they mean, what is refused, and that they limit a search exactly."""

import itertools

import numpy as np
import pytest
from parts_index import World, parts_index
from random_index import random_index, random_queries

from jaxret.errors import ConfigError
from jaxret.index.facts import ShapeFacts, told_facts
from jaxret.index.shards import ShapeRow, Shard, write_shard
from jaxret.index.where import parse_where
from jaxret.search.similarity import VIEW_KINDS

IDS = ('a/bolt-1.step', 'b/x.obj', 'b/y.stl', 'c/nut.glb')
AXES = 'yzyz'


def some_facts(name, unit, size, triangles, *, watertight=True, colors=()):
    scale = {'mm': 1.0, 'in': 25.4, 'm': 1000.0}.get(unit)
    return {
        'name': name,
        'unit': unit,
        'size': size,
        'size_mm': None if scale is None else [side * scale for side in size],
        'area': 200.0,
        'volume': float(np.prod(size)) * (scale or 1.0) ** 3 if watertight else None,
        'triangles': triangles,
        'watertight': watertight,
        'colors': list(colors),
    }


FACTS = [
    some_facts('Bolt M8', 'mm', [10, 40, 8], 100, colors=['#ff0000']),
    some_facts('', 'in', [2, 1, 3], 7, watertight=False, colors=['#00ff00', '#ff0000']),
    some_facts('Plate', None, [5, 5, 5], 5000),
    some_facts('nut', 'm', [0.0508, 0.2, 0.1], 4999),
]


@pytest.fixture
def facts(tmp_path):
    rows = []
    for part in (slice(0, 2), slice(2, 4)):
        shard = Shard(np.zeros((2, 1), np.float32), [b''] * 2, ['key'] * 2, facts=FACTS[part])
        name = write_shard(tmp_path, shard, key='key')
        rows += [ShapeRow(IDS[part][row], '', 0, 'sum', [1, 2], name, row, AXES[part][row]) for row in range(2)]
    return ShapeFacts(tmp_path, rows)


@pytest.mark.parametrize(
    ('where', 'expected', 'left_out'),
    [
        ('size<200mm', [0, 1], 1),  # the plate has no unit, the nut has 200 mm
        ('size<=200 mm', [0, 1, 3], 1),
        ('SIZE >= 3in', [1, 3], 1),
        ('size=3in', [1], 1),
        ('size != 3in and triangles<5000', [0, 3], 0),
        ('width=2in', [1, 3], 1),
        ('height=76.2mm', [1], 1),  # of a file with z up
        ('height>=10cm', [3], 1),
        ('depth=1in', [1], 1),
        ('triangles<5000', [0, 1, 3], 0),
        ('triangles=7', [1], 0),
        ('triangles>1e3 and triangles != 4999', [2], 0),
        ('watertight', [0, 2, 3], 0),
        ('not watertight', [1], 0),
        ('watertight and size<1m and triangles>200', [3], 1),
        ('volume<4cm3', [0], 1),
        ('volume != 3200mm³', [3], 1),  # that of an open shape is not known
        ('area<=2cm2', [0, 1, 3], 1),
        ('area>1in²', [], 1),
        ('name~bolt', [0], 0),
        ('name~B/', [1, 2], 0),
        ('name~"bolt m"', [0], 0),
        ("name~'and' AND watertight", [], 0),
        ('unit=in', [1], 0),
        ('unit != mm', [1, 2, 3], 0),
        ('color=#FF0000', [0, 1], 0),
        ('color!=#ff0000 and unit=m', [3], 0),
    ],
)
def test_what_conditions_mean(facts, where, expected, left_out):
    found = facts.matching(where)
    assert (np.flatnonzero(found.shapes).tolist(), found.left_out) == (expected, left_out)


@pytest.mark.parametrize(
    ('where', 'message'),
    [
        ('', 'a condition is missing'),
        ('  and watertight', "no field 'and'"),
        ('watertight and ', 'a condition is missing'),
        (
            'weight<3kg',
            "no field 'weight'; choose from size, width, height, depth, area, volume, triangles, name, unit",
        ),
        ('size<200', "'size' without a unit; write one after the number: um mm cm in ft m"),
        ('size<200kg', "'kg' is no unit of 'size'"),
        ('size<2mm2', "'mm2' is no unit of 'size'"),
        ('volume>10mm', "'mm' is no unit of 'volume'; write one after the number: um3 mm3 cm3 in3 ft3 m3"),
        ('size<big', "'big' of 'size' is not a number"),
        ('size<2,5mm', "',5mm' is no unit of 'size'"),
        ('size<', "'size' without a value"),
        ('size', "'size' without a value"),
        ('size~3mm', "size~; compare 'size' with < <= > >= = !="),
        ('triangles<3mm', "'triangles' with a unit, 'mm'"),
        ('watertight=yes', "'watertight' with a value"),
        ('not size<3mm', "`not` before 'size'"),
        ('not nothing', "no field 'nothing'"),
        ('name=bolt', "name=; of 'name' write name~VALUE"),
        ('unit=parsec', "'parsec' is no unit"),
        ('color=red', "'red' is no colour"),
        ('size<3mm watertight', "'watertight' after a condition; join conditions with `and`"),
        ('size<3mm or watertight', "'or watertight' after a condition"),
        ('size<3 or watertight', "'or' is no unit of 'size'"),
        ('<3mm', 'a condition is missing'),
        ('__import__("os")', '__import__'),
    ],
)
def test_what_is_not_understood_is_told(where, message):
    with pytest.raises(ConfigError) as caught:
        parse_where(where)
    assert message in str(caught.value) and repr(where.strip()) in str(caught.value)


def test_facts_of_shapes(facts):
    for number, one in enumerate(FACTS):  # of files of which every other has +z up
        x, y, z = one['size']
        assert facts.of(number)['size'] == ([x, z, y] if number % 2 else [x, y, z])
        assert {**facts.of(number), 'size': 0, 'size_mm': 0} == one | {'size': 0, 'size_mm': 0}
    assert facts.of(1)['size_mm'] == pytest.approx([50.8, 76.2, 25.4]) and facts.of(2)['size_mm'] is None
    assert [told_facts(one) for one in (FACTS[0], FACTS[1], FACTS[2], None)] == [
        ('10 x 40 x 8 mm', '100'),
        ('50.8 x 25.4 x 76.2 mm', '7 open'),
        ('5 x 5 x 5', '5,000'),
        ('', ''),
    ]


def test_an_index_of_before_there_were_facts(tmp_path):
    index = random_index(tmp_path, 'euclidean', shapes=4)
    assert index.facts(index.ids[0]) is None
    with pytest.raises(ConfigError, match=r'4 of 4 shapes .* run `jaxret index --rebuild`'):
        index.search(random_queries(index, 1), where='watertight')
    with pytest.raises(KeyError):
        index.facts('no such shape')


def assert_same(found, everything, allowed, top):
    """The first that are allowed of all shapes by their scores."""
    expected = [hit for hit in everything if hit.id in allowed][:top]
    assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in expected]


@pytest.mark.parametrize('similarity', [*VIEW_KINDS, 'euclidean'])
def test_a_search_is_limited_and_stays_exact(tmp_path, similarity):
    facts = [
        some_facts(f'shape {n}', ('mm', 'in', None)[n % 3], [1.0 + n, 2, 3], n, watertight=n % 2 == 0)
        for n in range(60)
    ]
    index = random_index(tmp_path, similarity, facts=facts)
    queries = random_queries(index, 3)
    everything = index.search(queries, top_k=60)
    for where, categories in itertools.product(
        ('size<40mm', 'watertight and triangles>=10', 'name~"shape 7"', 'triangles>1000'), (None, [index.categories[1]])
    ):
        allowed = set()
        for id, category, one in zip(index.ids, index.categories, facts, strict=True):
            sides = one['size_mm']
            met = {
                'size<40mm': sides is not None and max(sides) < 40,
                'watertight and triangles>=10': one['watertight'] and one['triangles'] >= 10,
                'name~"shape 7"': one['name'] == 'shape 7',
                'triangles>1000': False,
            }[where]
            allowed |= {id} if met and (categories is None or category in categories) else set()
        found = index.search(queries, top_k=5, where=where, categories=categories)
        for own, each in zip(found, everything, strict=True):
            assert_same(own, each, allowed, 5)
        assert index.matching(where).shapes.sum() >= len(allowed)


def test_photos_of_one_object_with_silhouettes(tmp_path):
    world = World.of(9)
    facts = [some_facts('', 'mm', [n + 1.0, 1, 1], n) for n in range(9)]
    index = parts_index(tmp_path, world, facts=facts)
    photos = world.photos(np.array([3, 3]))
    everything = index.search_together(photos, top_k=9)
    for where, allowed in (('size<=4mm', index.ids[:4]), ('size>100mm', ())):
        assert_same(index.search_together(photos, top_k=3, where=where), everything, allowed, 3)
        assert_same(index.search(photos[:1], top_k=3, where=where)[0], index.search(photos[:1], top_k=9)[0], allowed, 3)
