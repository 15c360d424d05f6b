"""Writes small STEP files as text: boxes, assemblies of them, and assemblies whose parts are in other files."""

import itertools

import numpy as np

_NONE = "''"
_MM = '( LENGTH_UNIT() NAMED_UNIT(*) SI_UNIT(.MILLI.,.METRE.) )'


class StepFile:
    """Entities of a STEP file, numbered as they are added."""

    def __init__(self, unit='mm'):
        self.lines = []
        application = self.add("APPLICATION_CONTEXT('design')")
        self.product_context = self.add(f"PRODUCT_CONTEXT('',{application},'mechanical')")
        self.context = self.add(f"PRODUCT_DEFINITION_CONTEXT('part definition',{application},'design')")
        length = self.add({'m': '( LENGTH_UNIT() NAMED_UNIT(*) SI_UNIT($,.METRE.) )'}.get(unit, _MM))
        if unit == 'in':
            exponents = self.add('DIMENSIONAL_EXPONENTS(1.,0.,0.,0.,0.,0.,0.)')
            inch = self.add(f'LENGTH_MEASURE_WITH_UNIT(LENGTH_MEASURE(25.4),{length})')
            length = self.add(f"( CONVERSION_BASED_UNIT('INCH',{inch}) LENGTH_UNIT() NAMED_UNIT({exponents}) )")
        angle = self.add('( NAMED_UNIT(*) PLANE_ANGLE_UNIT() SI_UNIT($,.RADIAN.) )')
        solid = self.add('( NAMED_UNIT(*) SI_UNIT($,.STERADIAN.) SOLID_ANGLE_UNIT() )')
        self.units = self.add(
            f'( GEOMETRIC_REPRESENTATION_CONTEXT(3) GLOBAL_UNIT_ASSIGNED_CONTEXT(({length},{angle},{solid})) '
            f"REPRESENTATION_CONTEXT('','') )"
        )

    def add(self, entity):
        self.lines.append(f'#{len(self.lines) + 1}={entity};')
        return f'#{len(self.lines)}'

    def point(self, place):
        return self.add(f"CARTESIAN_POINT('',({','.join(map(_real, place))}))")

    def direction(self, vector):
        return self.add(f"DIRECTION('',({','.join(map(_real, vector))}))")

    def axes(self, place=(0, 0, 0), z=(0, 0, 1), x=(1, 0, 0)):
        return self.add(f"AXIS2_PLACEMENT_3D('',{self.point(place)},{self.direction(z)},{self.direction(x)})")

    def product(self, name, items, kind='ADVANCED_BREP_SHAPE_REPRESENTATION'):
        """A product with the given items; returns (its definition, its representation)."""
        product = self.add(f"PRODUCT('{name}','{name}','',({self.product_context}))")
        formation = self.add(f"PRODUCT_DEFINITION_FORMATION('','',{product})")
        definition = self.add(f"PRODUCT_DEFINITION('design','',{formation},{self.context})")
        shape = self.add(f"PRODUCT_DEFINITION_SHAPE('','',{definition})")
        representation = self.add(f"{kind}('{name}',({','.join([*items, self.axes()])}),{self.units})")
        self.add(f'SHAPE_DEFINITION_REPRESENTATION({shape},{representation})')
        return definition, representation

    def box(self, size, shell='CLOSED_SHELL', at=(0, 0, 0)):
        """The shell of a box from `at`."""
        corners = np.array(list(itertools.product((0, 1), repeat=3))) * size + np.array(at)
        vertices = [self.add(f"VERTEX_POINT('',{self.point(corner)})") for corner in corners]
        edges = {}
        faces = []
        for quad in ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)):
            turn = []
            for a, b in itertools.pairwise((*quad, quad[0])):
                ends = min(a, b), max(a, b)
                if ends not in edges:
                    edges[ends] = self.edge(vertices, corners, *ends)
                turn.append(self.add(f"ORIENTED_EDGE('',*,*,{edges[ends]},.{'T' if a < b else 'F'}.)"))
            loop = self.add(f"EDGE_LOOP('',({','.join(turn)}))")
            bound = self.add(f"FACE_OUTER_BOUND('',{loop},.T.)")
            x, y = (_unit(corners[quad[k + 1]] - corners[quad[k]]) for k in (0, 1))
            plane = self.add(f"PLANE('',{self.axes(corners[quad[0]], np.cross(x, y), x)})")
            faces.append(self.add(f"ADVANCED_FACE('',({bound}),{plane},.T.)"))
        return self.add(f"{shell}('',({','.join(faces)}))")

    def edge(self, vertices, corners, a, b):
        vector = self.add(f"VECTOR('',{self.direction(_unit(corners[b] - corners[a]))},1.)")
        line = self.add(f"LINE('',{self.point(corners[a])},{vector})")
        return self.add(f"EDGE_CURVE('',{vertices[a]},{vertices[b]},{line},.T.)")

    def solid(self, size, at=(0, 0, 0)):
        return self.add(f"MANIFOLD_SOLID_BREP('',{self.box(size, at=at)})")

    def sphere(self, radius):
        """A solid ball about 0."""
        loop = self.add(f"VERTEX_LOOP('',{self.add(f'VERTEX_POINT({_NONE},{self.point((0, 0, -radius))})')})")
        surface = self.add(f"SPHERICAL_SURFACE('',{self.axes()},{_real(radius)})")
        bound = self.add(f"FACE_BOUND('',{loop},.T.)")
        face = self.add(f"ADVANCED_FACE('',({bound}),{surface},.T.)")
        return self.add(f"MANIFOLD_SOLID_BREP('',{self.add(f'CLOSED_SHELL({_NONE},({face}))')})")

    def half_ball(self, radius, x=(1, 0, 0), pole=(0, 0, 1)):
        """The half y >= 0 of a solid ball about 0, whose sphere has this X direction and these poles."""
        ends = [self.add(f"VERTEX_POINT('',{self.point((side * radius, 0, 0))})") for side in (1, -1)]
        circle = self.add(f"CIRCLE('',{self.axes(z=(0, 1, 0))},{_real(radius)})")
        halves = [self.add(f"EDGE_CURVE('',{a},{b},{circle},.T.)") for a, b in (ends, ends[::-1])]
        faces = []
        for surface, sense in (
            (f"SPHERICAL_SURFACE('',{self.axes(z=pole, x=x)},{_real(radius)})", 'T'),
            (f"PLANE('',{self.axes(z=(0, -1, 0))})", 'F'),
        ):
            order = halves if sense == 'T' else halves[::-1]
            turn = ','.join(self.add(f"ORIENTED_EDGE('',*,*,{half},.{sense}.)") for half in order)
            loop = self.add(f"EDGE_LOOP('',({turn}))")
            bound = self.add(f"FACE_OUTER_BOUND('',{loop},.T.)")
            faces.append(self.add(f"ADVANCED_FACE('',({bound}),{self.add(surface)},.T.)"))
        shell = self.add(f"CLOSED_SHELL('',({','.join(faces)}))")
        return self.add(f"MANIFOLD_SOLID_BREP('',{shell})")

    def place(self, above, part, name, offset):
        """Puts a product into another; both as `product` returns them."""
        use = self.add(f"NEXT_ASSEMBLY_USAGE_OCCURRENCE('{name}','{name}','',{above[0]},{part[0]},$)")
        shape = self.add(f"PRODUCT_DEFINITION_SHAPE('','',{use})")
        moved = self.add(f"ITEM_DEFINED_TRANSFORMATION('','',{self.axes()},{self.axes(offset)})")
        relation = self.add(
            f"( REPRESENTATION_RELATIONSHIP('','',{part[1]},{above[1]}) "
            f'REPRESENTATION_RELATIONSHIP_WITH_TRANSFORMATION({moved}) SHAPE_REPRESENTATION_RELATIONSHIP() )'
        )
        self.add(f'CONTEXT_DEPENDENT_SHAPE_REPRESENTATION({relation},{shape})')

    def outside(self, part, file):
        """Says that a product is in another file."""
        document = self.add(
            f"DOCUMENT_FILE('{file}','','',{self.add(f'DOCUMENT_TYPE({chr(39)}geometry{chr(39)})')},'',$)"
        )
        self.add(f"APPLIED_DOCUMENT_REFERENCE({document},'',({part[0]}))")

    def text(self):
        return '\n'.join([
            'ISO-10303-21;', 'HEADER;', "FILE_DESCRIPTION((''),'2;1');",
            "FILE_NAME('','2020-01-01T00:00:00',(''),(''),'','','');",
            "FILE_SCHEMA(('AUTOMOTIVE_DESIGN { 1 0 10303 214 1 1 1 1 }'));", 'ENDSEC;', 'DATA;',
            *self.lines, 'ENDSEC;', 'END-ISO-10303-21;', '',
        ])  # fmt: skip


def step_box(size, unit='mm', name='box'):
    file = StepFile(unit)
    file.product(name, [file.solid(size)])
    return file.text()


def step_assembly():
    """A plate of 30 x 20 x 2 mm with two pins of 2 x 2 x 10 on it."""
    file = StepFile()
    plate = file.product('plate', [file.solid((30, 20, 2))])
    pin = file.product('pin/left', [file.solid((2, 2, 10))])
    above = file.product('toy', [], kind='SHAPE_REPRESENTATION')
    file.place(above, plate, 'base', (0, 0, 0))
    file.place(above, pin, 'one', (4, 9, 2))
    file.place(above, pin, 'two', (24, 9, 2))
    return file.text()


def step_of_files(parts):
    """An assembly of files: (name, file, offset) each."""
    file = StepFile()
    above = file.product('toy', [], kind='SHAPE_REPRESENTATION')
    for name, other, offset in parts:
        part = file.product(name, [], kind='SHAPE_REPRESENTATION')
        file.outside(part, other)
        file.place(above, part, name, offset)
    return file.text()


def _unit(vector):
    return vector / np.linalg.norm(vector)


def _real(value):
    text = repr(float(value))
    return text if '.' in text else f'{text}.'
