"""Small networks of images and texts as libraries store them: weights from seeds, the rest from fixtures/text.npz."""

import json
from pathlib import Path

import numpy as np
from vit_cases import case_weights, write_case

# The last one has more tokens than any of the networks takes.
TEXTS = ('round table with one leg', 'A  Chair,\n4 legs!', 'sofa', 'wardrobe with doors, drawers, a mirror and legs')


def write_text_case(folder, name, case, weights=None, **changes):
    """Writes the files of a case; `changes` are keys of its JSON files by the file's name, None leaves the file out."""
    configs = {
        file: content | changes.get(file, {})
        for file, content in case['configs'].items()
        if changes.get(file, {}) is not None
    }
    weights = case_weights(name, case) if weights is None else weights
    return write_case(folder, name, case | {'configs': configs}, weights)


def stored_text_cases():
    """{name: (case, tokens of TEXTS, their features, features of IMAGES['20x20'])}."""
    with np.load(Path(__file__).parent / 'fixtures' / 'text.npz', allow_pickle=False) as stored:
        names = [key.removesuffix('/case') for key in stored if key.endswith('/case')]
        parts = ('tokens', 'texts', 'images')
        return {
            name: (json.loads(str(stored[f'{name}/case'])), *(stored[f'{name}/{part}'] for part in parts))
            for name in names
        }
