"""Tables 2 and 3 of Zhou et al. (IJCAI 2020) on MI3DOR-2."""

from paper_tables.rows.hifa import ALEXNET, FULL, tables

PRINTED = {
    ALEXNET: (0.518, 0.355, 0.488, 0.355, 0.383, 0.629),
    'MEDA': (0.570, 0.392, 0.523, 0.392, 0.425, 0.590),
    'JGSA': (0.585, 0.405, 0.533, 0.405, 0.433, 0.577),
    'JAN': (0.608, 0.501, 0.646, 0.501, 0.527, 0.484),
    'RevGrad': (0.623, 0.467, 0.614, 0.467, 0.503, 0.514),
    'DLEA': (0.700, 0.555, 0.681, 0.555, 0.593, 0.424),
    FULL: (0.725, 0.570, 0.710, 0.570, 0.598, 0.413),
    'HIFA-G': (0.655, 0.521, 0.664, 0.521, 0.541, 0.465),
    'HIFA-GL': (0.673, 0.547, 0.686, 0.547, 0.573, 0.437),
}
PAPER = tables(
    'mi3dor2.py',
    'MI3DOR-2',
    2,
    PRINTED,
    note='The gallery has 20 shapes of each class, so F, of the first 20, equals FT, as printed.',
)
