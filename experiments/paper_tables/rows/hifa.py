"""Tables 1 and 3 of Zhou et al. (IJCAI 2020) on MI3DOR: HIFA, its parts, and the methods it is compared with.

`tables` makes those of a data set: hifa_mi3dor2.py has the other one.
"""

from collections.abc import Mapping, Sequence

from paper_tables.rows.paper import Claim, Metric, Paper, Row, Table, Tuning

METRICS = tuple(
    Metric(key, key.upper(), scale=1.0, digits=3, higher_is_better=key != 'anmrr')
    for key in ('nn', 'ft', 'st', 'f', 'dcg', 'anmrr')
)
STANDARD = tuple(
    Metric(f'standard_{metric.key}', metric.title, scale=1.0, digits=3, higher_is_better=metric.higher_is_better)
    for metric in METRICS
    if metric.key in ('nn', 'anmrr')
)
PRESETS = {
    'small': 'hifa',
    'last_blocks': 'hifa',
    'random_start': 'random_start',
    'paper': 'paper',
}  # of a table: that of the config
NONE = {'loss.mutual_information': 'none', 'loss.norm': 'none', 'loss.centroid': 'none'}
FULL, ALEXNET = 'HIFA-GL (with MI)', 'AlexNet (source only)'
OURS = 'ours: prototypes of both domains'
# Row -> how it differs from HIFA. Printed are the methods (tables 1 and 2) and the parts of HIFA (table 3).
METHODS = {
    ALEXNET: NONE,
    'MEDA': NONE | {'evaluation.alignment': 'meda'},
    'JGSA': NONE | {'evaluation.alignment': 'jgsa'},
    'JAN': NONE | {'loss.mmd': 'jan'},
    'RevGrad': NONE | {'loss.adversarial': 'revgrad'},
    'DLEA': NONE | {'loss.adversarial': 'revgrad', 'loss.centroid': 'running'},
    FULL: {},
}
PARTS = {
    'HIFA-G': {'loss.mutual_information': 'none', 'loss.centroid': 'none'},
    'HIFA-GL': {'loss.mutual_information': 'none'},
}
OTHERS = {
    'CORAL as a loss': NONE | {'loss.coral_weight': 1.0},
    'CORAL of the features': NONE | {'evaluation.alignment': 'coral'},
    'HIFA with lambda 1 and beta 0.05': {'loss.mutual_information_weight': 1.0, 'loss.norm_weight': 0.05},
    OURS: NONE | {'evaluation.alignment': 'prototypes'},
}
# The same with few labels: the share of training photos that gives none, and a batch and a length that fit the rest.
FEW = {'data.val_fraction': 0.944, 'batch_size': 14, 'epochs': 200.0}
FEW_LABELS = {f'{name}: few labels': (METHODS | OTHERS)[name] | FEW for name in (ALEXNET, 'JAN', FULL, OURS)}
PRINTED = {
    ALEXNET: (0.424, 0.323, 0.469, 0.099, 0.345, 0.667),
    'MEDA': (0.430, 0.344, 0.501, 0.046, 0.361, 0.646),
    'JGSA': (0.612, 0.443, 0.599, 0.116, 0.473, 0.541),
    'JAN': (0.446, 0.343, 0.495, 0.085, 0.364, 0.647),
    'RevGrad': (0.650, 0.505, 0.643, 0.112, 0.542, 0.474),
    'DLEA': (0.764, 0.558, 0.716, 0.143, 0.597, 0.421),
    FULL: (0.778, 0.618, 0.768, 0.151, 0.654, 0.362),
    'HIFA-G': (0.687, 0.569, 0.742, 0.132, 0.594, 0.419),
    'HIFA-GL': (0.753, 0.600, 0.752, 0.148, 0.637, 0.379),
}


def tables(file: str, title: str, number: int, printed: Mapping[str, Sequence[float]], *, note: str) -> Paper:
    """The tables of a data set.

    Args:
      file: its config.
      title: its name.
      number: of the paper's table of methods.
      printed: row -> its values as printed, in the order of `METRICS`.
      note: a line on these values.
    """
    configs = {preset: f'{file}:{config}' for preset, config in PRESETS.items()}
    rows = {
        name: Row(
            name,
            configs,
            overrides,
            {metric.key: value for metric, value in zip(METRICS, printed.get(name, ()), strict=name in printed)},
            tuned=name not in FEW_LABELS,  # tries hold out another share
        )
        for name, overrides in (METHODS | PARTS | OTHERS | FEW_LABELS).items()
    }
    full, methods = rows[FULL], [rows[name] for name in METHODS]
    parts = [rows[name] for name in (ALEXNET, *PARTS, FULL)]

    def claim(text: str, better: str, worse: str) -> Claim:
        return Claim.of_rows(text, rows[better], rows[worse], 'nn')

    return Paper(
        'Zhou et al., Hierarchical Instance Feature Alignment for 2D Image-Based 3D Shape Retrieval (IJCAI 2020), '
        f'{title}',
        tables=(
            Table(f'Table {number}: the methods', METRICS, tuple(methods)),
            Table(f'Table 3: the parts of HIFA, {title}', METRICS, tuple(parts)),
            Table(
                'Not in the paper: correlation alignment, the suspected interchange of two weights, and ours',
                METRICS,
                tuple(rows[name] for name in OTHERS),
            ),
            Table('Not in the paper: few labelled photos', METRICS, tuple(rows[name] for name in FEW_LABELS)),
            Table('Not in the paper: the textbook definitions of these metrics', STANDARD, tuple(rows.values())),
        ),
        claims=(
            *(claim(f'HIFA is better than {row.name}', FULL, row.name) for row in methods if row is not full),
            claim(
                'adversarial training and centroids (DLEA) are better than adversarial training alone',
                'DLEA',
                'RevGrad',
            ),
            claim('aligned norms are better than no adaptation', 'HIFA-G', ALEXNET),
            claim('centroids help beyond norms', 'HIFA-GL', 'HIFA-G'),
            claim('mutual information helps beyond norms and centroids', FULL, 'HIFA-GL'),
            *(
                Claim.of_rows(f'the same in ANMRR: HIFA is better than {name}', full, rows[name], 'anmrr')
                for name in (ALEXNET, 'DLEA', 'HIFA-GL')
            ),
            *(
                Claim.of_rows(f'ours, not in the paper: better than {text}', rows[f'{OURS}{labels}'], rows[worse], key)
                for text, labels, worse, key in (
                    (FULL, '', FULL, 'nn'),
                    (ALEXNET, '', ALEXNET, 'nn'),
                    (f'{ALEXNET} in FT', '', ALEXNET, 'ft'),
                    (f'{FULL} with few labels', ': few labels', f'{FULL}: few labels', 'nn'),
                    (f'{ALEXNET} with few labels', ': few labels', f'{ALEXNET}: few labels', 'nn'),
                )
            ),
        ),
        notes=(
            f'Printed values are those of {title}. Scores are of the official mode; metrics.json also has the standard '
            'ones.',
            'The paper prints one run each, from ImageNet weights, and does not say which checkpoint; the public code '
            'of its authors takes the best on the labels of the test shapes. Here it is the last one, and no label of '
            'a shape is used.',
            'MEDA and JGSA align the features of the source-only network; their entries, of both signs, lose the '
            'negative ones in the official mode.',
            note,
        ),
        tuning=Tuning(
            'val_source_accuracy',  # no label of a shape may choose
            {'data.val_fraction': 0.2},
            ('optimizer.learning_rate', 'backbone_optimizer.learning_rate'),
        ),
        of_presets={'last_blocks': {'model.train': 'last_blocks', 'model.last_blocks': 3}},
    )


PAPER = tables(
    'mi3dor.py', 'MI3DOR', 1, PRINTED, note='The printed F of MEDA and AlexNet do not fit their other values.'
)
