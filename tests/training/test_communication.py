"""What crosses devices, read in the compiled train step of eight: embeddings, statistics, gradients, and no image.

A device's program is read as text. What is communicated either has the shape of a parameter or of a statistic, or it is
no larger than all embeddings or scores of the batch, while one device's share of images or of any feature map is.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_cmic
import small_cross_modal
import small_hifa
import small_scan_cad
from small_cmic import DIM, SIZE, VIEWS, optimizer_config

from jaxret.encoders.heads import image_encoder
from jaxret.encoders.view_pooling import ViewEncoder
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

BATCH, DEVICES, WIDTH = 16, 8, 17  # convolutions on CPUs pad fewer channels than 17
COLLECTIVES = 'all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast'
ARRAY = re.compile(r'\b(?:f32|bf16|f16|s32|u32|s8|u8|pred)\[([\d,]*)\]')


class Program:
    """The program of one device.

    Attributes:
      text: in HLO.
      moved: of every collective its kind, the shapes it gives, and whether it is in the body of a loop.
    """

    def __init__(self, text):
        self.text, self.moved = text, []
        bodies, computation = set(re.findall(r'body=%?([\w.\-]+)', text)), ''
        for line in text.splitlines():
            if line.rstrip().endswith('{') and '=' not in line.split('(')[0]:
                computation = line.split('(')[0].replace('ENTRY', '').strip().lstrip('%')
            found = re.search(rf' = (.*?) ({COLLECTIVES})(?:-start)?\(', line)
            if found:
                shapes = [shape_of(dims) for dims in ARRAY.findall(found[1])]
                if found[2] == 'all-to-all':  # pieces of one array
                    shapes = [(len(shapes), *shapes[0])]
                self.moved.append((found[2], shapes, computation in bodies))

    def other_than(self, state):
        """Shapes of what is communicated and is no parameter or statistic of a state, nor a gradient of one."""
        known = {kind(x.shape) for x in jax.tree.leaves(state)}
        return [shape for _, shapes, _ in self.moved for shape in shapes if kind(shape) not in known]

    def largest(self):
        """Elements of the largest array of the program."""
        return max(math.prod(shape_of(dims)) for dims in ARRAY.findall(self.text))


def shape_of(dims):
    return tuple(int(x) for x in dims.split(',') if x)


def kind(shape):
    """A shape whatever the order of its axes."""
    return tuple(sorted(x for x in shape if x > 1))


def compiled(make_system, batch, mode='jit'):
    """Program and state of a train step."""
    parallel = make_parallel(mode, devices=DEVICES, divided={'batch_size': BATCH})
    config = optimizer_config()
    schedule = make_schedule(config, 4)
    optimizer = make_optimizer(config, schedule)
    state = jax.eval_shape(
        lambda key: create_state(make_system(None).init(key, batch), optimizer, seed=0, average=False),
        jax.random.key(0),
    )
    step = parallel.compile(
        make_train_step(
            make_system(parallel.axis_name), optimizer, learning_rate=schedule, axis_name=parallel.axis_name
        )
    )
    arguments = state, batch
    if mode == 'pmap':
        arguments = (
            jax.tree.map(lambda x: jax.ShapeDtypeStruct((DEVICES, *x.shape), x.dtype), state),
            {name: x.reshape(DEVICES, -1, *x.shape[1:]) for name, x in batch.items()},
        )
    return Program(step.lower(*arguments).compile().as_text()), state


def cmic(blocks, **changes):
    """CMIC whose encoders have some residual blocks, for a device axis."""

    def make(axis_name):
        def encoder():
            return image_encoder('resnet_small', DIM, axis_name=axis_name, width=WIDTH, stage_sizes=(blocks,))

        return small_cmic.small_cmic(query_encoder=encoder(), view_encoder=ViewEncoder(encoder()), **changes)

    return make


@pytest.fixture(scope='module')
def shallow():
    return compiled(cmic(1), small_cmic.random_batch(BATCH))


EMBEDDINGS = BATCH * VIEWS * DIM  # more than scores, photos x shapes
MAPS = (SIZE // 2) ** 2 * WIDTH  # feature maps of an image, all of one size
SHARE = BATCH // DEVICES


def test_embeddings_statistics_and_gradients_cross_devices_and_no_image(shallow):
    program, state = shallow
    assert SHARE * min(MAPS, SIZE**2 * 3) > EMBEDDINGS > BATCH**2  # else sizes would not tell them apart
    assert max(math.prod(shape) for shape in program.other_than(state)) <= EMBEDDINGS
    summed = {kind(shape) for name, shapes, _ in program.moved for shape in shapes if name == 'all-reduce'}
    assert {kind(x.shape) for x in jax.tree.leaves((state.params, state.collections))} <= summed
    assert any(kind(shape) == (DIM, BATCH) for shape in program.other_than(state))


def test_no_device_holds_the_activations_of_the_whole_batch(shallow):
    whole = BATCH * VIEWS * MAPS
    assert whole // DEVICES <= shallow[0].largest() < whole // 2


def test_depth_brings_only_the_collectives_of_its_batch_norms(shallow):
    deep, state = compiled(cmic(2), small_cmic.random_batch(BATCH))
    count = [
        sum('bn' in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(x.collections)) // 2
        for x in (shallow[1], state)
    ]
    assert count[1] - count[0] == 4  # a mean and a variance of each of two layers of two encoders
    # One with the statistics, one with their gradient.
    assert 0 < len(deep.moved) - len(shallow[0].moved) <= 2 * 4
    assert max(math.prod(shape) for shape in deep.other_than(state)) <= EMBEDDINGS


def test_pmap_sums_the_gradients_of_all_chunks_once():
    program, state = compiled(cmic(1, chunk=8), small_cmic.random_batch(BATCH), 'pmap')
    assert max(math.prod(shape) for shape in program.other_than(state)) <= EMBEDDINGS
    kernels = {kind(x.shape) for x in jax.tree.leaves(state.params) if x.ndim == 4}
    inside = [looped for _, shapes, looped in program.moved if kernels & {kind(shape) for shape in shapes}]
    assert inside and not any(inside)
    assert any(looped for _, _, looped in program.moved)  # statistics of each chunk


@pytest.mark.parametrize(
    ('make', 'batch', 'most', 'share'),
    [
        (
            lambda axis: small_cross_modal.small_system(axis_name=axis, flat=True),
            small_cross_modal.random_batch(BATCH),
            BATCH * small_cross_modal.DIM,
            SHARE * small_cross_modal.VIEWS * small_cross_modal.SIZE**2,
        ),
        (
            lambda axis: small_hifa.small_hifa(axis_name=axis),
            small_hifa.random_batch(BATCH, BATCH),
            (BATCH * small_hifa.VIEWS) ** 2,
            SHARE * small_hifa.SIZE**2 * 3,
        ),
        (
            lambda axis: small_scan_cad.flat_system(axis_name=axis),
            small_scan_cad.random_batch(BATCH),
            BATCH**2,
            SHARE * small_scan_cad.CELLS**3,
        ),
    ],
    ids=['cross-modal', 'hifa', 'scan-cad'],
)
def test_no_input_of_the_other_systems_crosses_devices(make, batch, most, share):
    program, state = compiled(make, batch)
    moved = max((math.prod(shape) for shape in program.other_than(state)), default=0)
    assert program.moved and moved <= most < share, moved


def test_images_that_move_are_seen():
    parallel = make_parallel('jit', devices=DEVICES, divided={'batch_size': BATCH})
    images = parallel.place_batch({'image': np.zeros((BATCH, SIZE, SIZE, 3), np.float32)})['image']
    program = Program(jax.jit(lambda x: jnp.roll(x, 3, axis=0) + 1).lower(images).compile().as_text())
    assert max(math.prod(shape) for shape in program.other_than(())) > EMBEDDINGS
