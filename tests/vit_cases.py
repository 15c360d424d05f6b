"""Small vision transformers as libraries store them: weights and images from seeds, the rest from fixtures/vit.npz."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from seeded_weights import Numbers, seeded_images

# Of the size that all are made for (but 'timm_siglip2'), and of others: the grid grows and shrinks.
IMAGES = {'20x20': seeded_images(2, 20, 20, seed=0), '28x12': seeded_images(2, 28, 12, seed=1)}


def vit_weights(shapes, *, seed):
    """float32 arrays by name: with each, whatever the name, the features change much."""
    numbers, weights = Numbers(seed), {}
    for name, shape in shapes.items():
        values = numbers.array(*shape)
        if 'bias' in name or len(shape) == 1 and name.endswith(('class_embedding', 'cls')):
            values *= np.float32(0.3)
        elif len(shape) == 1 or name.endswith(('/scale', 'lambda1', 'gamma')):
            values = np.float32(0.9) + np.float32(0.3) * values
        elif 'pos' in name or 'token' in name or name.endswith(('probe', 'latent', 'cls')):
            values *= np.float32(0.8)
        else:
            flax = name.endswith('/kernel')
            fan_in = math.prod(shape[:-1]) if flax and len(shape) != 3 else shape[-2] if flax else math.prod(shape[1:])
            values *= np.float32(math.sqrt(3 / min(fan_in, 64)))
        weights[name] = values
    return weights


def case_weights(name, case):
    return vit_weights(case['shapes'], seed=zlib.crc32(name.encode()))


def write_case(folder, name, case, weights=None):
    """Writes the files of a case: `case` is {'weights': file, 'shapes': of arrays by name, 'configs': by file}.

    Other weights than its own may be given.
    """
    weights = case_weights(name, case) if weights is None else weights
    folder.mkdir(exist_ok=True)
    if case['weights'].endswith('.npz'):
        np.savez(folder / case['weights'], **weights)
    else:
        save_file(weights, folder / case['weights'])
    for file, content in case['configs'].items():
        (folder / file).write_text(json.dumps(content))
    return folder


def stored_cases():
    """{name: (case, features by size)}."""
    with np.load(Path(__file__).parent / 'fixtures' / 'vit.npz', allow_pickle=False) as stored:
        names = [key.removesuffix('/case') for key in stored if key.endswith('/case')]
        return {
            name: (json.loads(str(stored[f'{name}/case'])), {size: stored[f'{name}/{size}'] for size in IMAGES})
            for name in names
        }
