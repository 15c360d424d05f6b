"""Tables 1 to 3 of Zhou et al. (IJCAI 2020): HIFA, its parts, and the methods it is compared with."""

from paper_tables.rows.paper import Claim, Metric, Paper, Row, Table

METRICS = tuple(
    Metric(key, key.upper(), scale=1.0, digits=3, higher_is_better=key != 'anmrr')
    for key in ('nn', 'ft', 'st', 'f', 'dcg', 'anmrr')
)
STANDARD = tuple(
    Metric(f'standard_{metric.key}', metric.title, scale=1.0, digits=3, higher_is_better=metric.higher_is_better)
    for metric in METRICS
    if metric.key in ('nn', 'anmrr')
)
HIFA = {'small': 'mi3dor.py:small', 'paper': 'mi3dor.py:paper'}
NONE = {'loss.mutual_information': 'none', 'loss.norm': 'none', 'loss.centroid': 'none'}


def _printed(*values: float) -> dict[str, float]:
    return {metric.key: value for metric, value in zip(METRICS, values, strict=True)}


def _row(name: str, overrides: dict, *printed: float) -> Row:
    return Row(name, HIFA, overrides, _printed(*printed) if printed else {})


ALEXNET = _row('AlexNet (source only)', NONE, 0.424, 0.323, 0.469, 0.099, 0.345, 0.667)
MEDA = _row('MEDA', NONE | {'evaluation.alignment': 'meda'}, 0.430, 0.344, 0.501, 0.046, 0.361, 0.646)
JGSA = _row('JGSA', NONE | {'evaluation.alignment': 'jgsa'}, 0.612, 0.443, 0.599, 0.116, 0.473, 0.541)
JAN = _row('JAN', NONE | {'loss.mmd': 'jan'}, 0.446, 0.343, 0.495, 0.085, 0.364, 0.647)
REVGRAD = _row('RevGrad', NONE | {'loss.adversarial': 'revgrad'}, 0.650, 0.505, 0.643, 0.112, 0.542, 0.474)
DLEA = _row(
    'DLEA', NONE | {'loss.adversarial': 'revgrad', 'loss.centroid': 'running'}, 0.764, 0.558, 0.716, 0.143, 0.597, 0.421
)
FULL = _row('HIFA-GL (with MI)', {}, 0.778, 0.618, 0.768, 0.151, 0.654, 0.362)
GLOBAL = _row(
    'HIFA-G', {'loss.mutual_information': 'none', 'loss.centroid': 'none'}, 0.687, 0.569, 0.742, 0.132, 0.594, 0.419
)
LOCAL = _row('HIFA-GL', {'loss.mutual_information': 'none'}, 0.753, 0.600, 0.752, 0.148, 0.637, 0.379)
CORAL_LOSS = _row('CORAL as a loss', NONE | {'loss.coral_weight': 1.0})
CORAL_FEATURES = _row('CORAL of the features', NONE | {'evaluation.alignment': 'coral'})
SWAPPED = _row('HIFA with lambda 1 and beta 0.05', {'loss.mutual_information_weight': 1.0, 'loss.norm_weight': 0.05})

PAPER = Paper(
    'Zhou et al., Hierarchical Instance Feature Alignment for 2D Image-Based 3D Shape Retrieval (IJCAI 2020)',
    tables=(
        Table(
            'Tables 1 and 2: the methods (printed: Table 1, MI3DOR)',
            METRICS,
            (ALEXNET, MEDA, JGSA, JAN, REVGRAD, DLEA, FULL),
        ),
        Table('Table 3: the parts of HIFA (printed: MI3DOR)', METRICS, (ALEXNET, GLOBAL, LOCAL, FULL)),
        Table(
            'Not in the paper: correlation alignment, and the suspected interchange of two weights',
            METRICS,
            (CORAL_LOSS, CORAL_FEATURES, SWAPPED),
        ),
        Table(
            'Not in the paper: the textbook definitions of these metrics',
            STANDARD,
            (ALEXNET, MEDA, JGSA, JAN, REVGRAD, DLEA, GLOBAL, LOCAL, FULL, CORAL_LOSS, CORAL_FEATURES, SWAPPED),
        ),
    ),
    claims=(
        *(
            Claim.of_rows(f'HIFA is better than {row.name}', FULL, row, 'nn')
            for row in (ALEXNET, MEDA, JGSA, JAN, REVGRAD, DLEA)
        ),
        Claim.of_rows(
            'adversarial training and centroids (DLEA) are better than adversarial training alone', DLEA, REVGRAD, 'nn'
        ),
        Claim.of_rows('aligned norms are better than no adaptation', GLOBAL, ALEXNET, 'nn'),
        Claim.of_rows('centroids help beyond norms', LOCAL, GLOBAL, 'nn'),
        Claim.of_rows('mutual information helps beyond norms and centroids', FULL, LOCAL, 'nn'),
        *(
            Claim.of_rows(f'the same in ANMRR: HIFA is better than {row.name}', FULL, row, 'anmrr')
            for row in (ALEXNET, DLEA, LOCAL)
        ),
    ),
    notes=(
        'Printed values are those of MI3DOR (Table 1); MI3DOR-2 (Table 2): NN AlexNet .518, MEDA .570, JGSA .585, JAN '
        '.608, RevGrad .623, DLEA .700, HIFA .725. Scores are of the official mode; metrics.json also has the standard '
        'ones.',
        'The paper prints one run each, from ImageNet weights, and does not say which checkpoint; the public code of '
        'its authors takes the best on the labels of the test shapes. Here it is the last one, and no label of a shape '
        'is used.',
        'MEDA and JGSA align the features of the source-only network; their entries, of both signs, lose the negative '
        'ones in the official mode. The printed F of MEDA and AlexNet do not fit their other values.',
    ),
)
