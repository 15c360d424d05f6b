"""Where PyTorch is installed (extra `bench`): its systems take the weights of `jaxret`'s, and give the same loss."""

import importlib

import jax
import numpy as np
import pytest
from overrides import apply_overrides, load_config

torch = pytest.importorskip('torch')
STEP = 500  # past the warm-up


@pytest.fixture
def peers():
    """The modules of the benchmarks that the tests use."""
    return [importlib.import_module(name) for name in ('random_steps', 'torch_peers')]


def copy_weights(module, variables):
    """Gives a peer the variables of the system that it stands beside, name by name.

    Raises:
      ValueError: a parameter or batch statistic that only one of them has, or one of another shape.
    """
    state = {
        name: value
        for name, value in module.state_dict().items()
        if not name.endswith('num_batches_tracked') and name in _learned(module)
    }
    given = {}
    for collection, tree in variables.items():
        if collection in ('params', 'batch_stats'):
            for path, value in jax.tree_util.tree_leaves_with_path(tree):
                *modules, leaf = (str(key.key) for key in path)
                name = '.'.join([*modules, ''])
                layer = module.get_submodule('.'.join(modules)) if modules else module
                given[name + _names(layer, leaf)] = _as_torch(layer, leaf, np.asarray(value))
    if given.keys() != state.keys():
        raise ValueError(f'only one side has {", ".join(sorted(given.keys() ^ state.keys()))}')
    wrong = [name for name in state if state[name].shape != given[name].shape]
    if wrong:
        raise ValueError(f'other shapes: {", ".join(f"{x} {state[x].shape}, {given[x].shape}" for x in wrong)}')
    module.load_state_dict(given, strict=False)


def _learned(module):
    """Names of parameters and batch statistics; constants are no part of a system's variables."""
    statistics = {name for name, _ in module.named_buffers() if name.endswith(('running_mean', 'running_var'))}
    return statistics | {name for name, _ in module.named_parameters()}


def _names(layer, leaf):
    if leaf in dict(layer.named_parameters(recurse=False)):  # one of its own, stored as in `jaxret`
        return leaf
    if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
        return {'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}.get(leaf, leaf)
    return 'weight' if leaf == 'kernel' else leaf


def _as_torch(layer, leaf, value):
    if leaf == 'kernel' and not hasattr(layer, 'kernel'):
        transposed = isinstance(layer, torch.nn.ConvTranspose3d)
        channels = (value.ndim - 2, value.ndim - 1) if transposed else (value.ndim - 1, value.ndim - 2)
        value = value.transpose(*channels, *range(value.ndim - 2))
    return torch.from_numpy(np.array(value))


def make_both(peers, name, overrides):
    """Config, experiment, system, its variables, and the peer with the same."""
    steps, systems = peers
    config, _ = load_config(name)
    apply_overrides(config, overrides)
    experiment = steps.EXPERIMENTS[config.experiment]
    batch = experiment.batch(config, experiment.classes)
    system = experiment.make(config, experiment.classes)
    variables = steps.random_variables(jax.eval_shape(system.init, jax.random.key(0), batch))
    module, kind = systems.PEERS[experiment.name]
    peer = getattr(importlib.import_module(module), kind)(config, experiment.classes)
    copy_weights(peer, variables)
    return config, experiment, system, variables, batch, peer


@pytest.mark.parametrize('preset', ['smoke', 'paper'])
@pytest.mark.parametrize('name', ['pix3d.py', 'scan_cad.py', 'mi3dor.py', 'modelnet40.py'])
def test_as_many_parameters(peers, name, preset):
    if preset == 'paper' and name == 'mi3dor.py':
        preset = 'random_start'  # AlexNet's 57 million take seconds to draw
    _, experiment, system, variables, _, peer = make_both(peers, f'{name}:{preset}', {'batch_size': '2'})
    assert sum(x.numel() for x in peer.parameters()) == sum(x.size for x in jax.tree.leaves(variables['params']))


CHANGES = {
    'pix3d.py': {'color.mode': 'none'},
    'scan_cad.py': {'augmentation.flip': '0', 'augmentation.jitter': '0', 'model.width': '0.05'},
    'mi3dor.py': {'loss.warmup': '0'},
    'modelnet40.py': {'loss.sigma': '0'},
}


@pytest.mark.parametrize('name', CHANGES)
def test_same_loss_and_gradient(peers, monkeypatch, name):
    monkeypatch.setattr('jaxret.systems.cross_modal_center._each', lambda change, key, objects, values: values)
    _, _, system, variables, batch, peer = make_both(peers, f'{name}:smoke', CHANGES[name])
    if name == 'modelnet40.py':
        peer.augment = lambda points, faces: (points, faces)
    if name == 'mi3dor.py':
        peer.steps += STEP

    def loss(params):
        own = {**variables, 'params': params}
        return system.loss(own, batch, rng=jax.random.key(0), step=np.int32(STEP), train=True)[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables['params'])
    theirs = peer.train()({key: torch.from_numpy(x) for key, x in batch.items()})
    theirs.backward()
    np.testing.assert_allclose(float(theirs.detach()), float(value), rtol=1e-4)
    ours = np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(gradient)))
    norm = np.sqrt(sum(float((x.grad**2).sum()) for x in peer.parameters() if x.grad is not None))
    np.testing.assert_allclose(norm, ours, rtol=1e-2)


def test_other_losses_have_no_peer(peers):
    steps, systems = peers
    for name, overrides in (
        ('pix3d.py:smoke', {'loss.kind': 'triplet'}),
        ('scan_cad.py:cnn3d', {}),
        ('mi3dor.py:random_start_revgrad', {}),
        ('modelnet40.py:smoke', {'model.point_encoder': 'pointnet'}),
    ):
        config, _ = load_config(name)
        apply_overrides(config, overrides)
        module, kind = systems.PEERS[steps.EXPERIMENTS[config.experiment].name]
        with pytest.raises(NotImplementedError, match='PyTorch peer'):
            getattr(importlib.import_module(module), kind)(config, 4)


def test_colours_as_in_jaxret(peers):
    from jaxret.augmentation.color_spaces import lab_to_rgb, rgb_to_lab

    make = importlib.import_module('torch_peers.cmic')
    config, _ = load_config('pix3d.py:smoke')
    peer = make.CMIC(config, 4)
    rgb = np.random.default_rng(0).random((2, 5, 7, 3)).astype(np.float32)
    lab = peer.to_lab(torch.from_numpy(rgb).movedim(-1, 1))
    np.testing.assert_allclose(lab.movedim(1, -1).numpy(), rgb_to_lab(rgb), atol=2e-3)
    np.testing.assert_allclose(peer.to_rgb(lab).movedim(1, -1).numpy(), lab_to_rgb(rgb_to_lab(rgb)), atol=2e-4)


def test_turned_and_shifted_grids(peers):
    """A turn by every multiple of 30 degrees, mirroring and shifts move cells; they invent and lose only at the rim."""
    make = importlib.import_module('torch_peers.scan_cad')
    config, _ = load_config('scan_cad.py:smoke')
    apply_overrides(config, {'augmentation.rotations': '4', 'model.width': '0.05'})
    torch.manual_seed(0)
    peer = make.ScanCad(config, 6)
    grids = torch.zeros(6, 3, 32, 32, 32, dtype=torch.uint8)
    grids[:, 0, 4:20, 5:9, 10:28] = 1
    moved = peer.augment(grids)
    assert moved.shape == grids.shape and moved.dtype == torch.uint8
    assert (moved.sum((1, 2, 3, 4)) == grids.sum((1, 2, 3, 4))).all()
    assert len({tuple(grid.flatten().tolist()) for grid in moved[:, 0]}) > 1
