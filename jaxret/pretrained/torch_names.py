"""PyTorch's names of the variables of our image networks: torchvision's (and timm's) for the ResNets and AlexNet, those
of `efficientnet_lite_pytorch` for EfficientNet-Lite.
"""

from collections.abc import Collection, Iterable

TreePath = tuple[str, ...]

FIRST_KERNELS = (('params', 'conv1', 'kernel'), ('params', 'conv_stem', 'kernel'))
_CLASSIFIERS = ('fc', 'classifier.6', '_fc')
_ALEXNET = {
    'conv1': 'features.0',
    'conv2': 'features.3',
    'conv3': 'features.6',
    'conv4': 'features.8',
    'conv5': 'features.10',
    'fc6': 'classifier.1',
    'fc7': 'classifier.4',
    'fc8': 'classifier.6',
}
_SHORTCUTS = {'downsample_conv': 'downsample.0', 'downsample_bn': 'downsample.1'}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


def torch_names(paths: Iterable[TreePath]) -> dict[TreePath, str]:
    """PyTorch's name of every variable: of ('params', 'layer1_0', 'bn1', 'scale') 'layer1.0.bn1.weight'.

    Args:
      paths: of all variables of a network, or of a part of it.

    Returns:
      Names by path, in the order of the paths.
    """
    paths = list(paths)
    tops = {path[1] for path in paths}
    if 'fc6' in tops:
        module_name = _ALEXNET.__getitem__
    elif any(top in ('conv_stem', 'conv_head') or top.startswith('blocks_') for top in tops):
        module_name = _efficientnet_name
    else:
        module_name = _resnet_name
    return {path: '.'.join((*map(module_name, path[1:-1]), _LEAVES[path[-1]])) for path in paths}


def _resnet_name(module: str) -> str:
    return _SHORTCUTS.get(module, module.replace('_', '.'))


def _efficientnet_name(module: str) -> str:
    """'_blocks.3' of 'blocks_3', '_depthwise_conv' of 'depthwise_conv'."""
    return '_' + (module.replace('_', '.') if module.startswith('blocks_') else module)


def of_missing_classifier(name: str, names: Collection[str]) -> bool:
    """Whether a name in a file is of the classifier, and the network, whose names are given, has none."""
    return any(name.startswith(f'{head}.') and f'{head}.weight' not in names for head in _CLASSIFIERS)
