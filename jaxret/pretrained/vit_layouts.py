"""Names of the weights of transformers of images and texts in the files of Hugging Face, timm, Meta, OpenCLIP and
big_vision.

A layout is a table from the modules and parameters of `VisionTransformer`, or of `TextTransformer`, to the names
there. Linear kernels are [O, I] in PyTorch and [I, O] here, those of the patches [O, I, H, W] and [H, W, I, O];
query, key and value are one kernel here. big_vision has Flax's order, its attention with an axis more for the heads.

Letters: H, W height and width of a kernel, I and O input and output channels, D width.
"""

from collections.abc import Mapping
from typing import NamedTuple

BESIDE = '../'  # of names that stand beside the network, not in it


class Layout(NamedTuple):
    """Names of one library; '{}' stands for the number of a block.

    Attributes:
      kind: 'dinov2', 'vit' and 'clip' (also SigLIP) of Hugging Face, 'timm' (also Meta), 'open_clip', 'big_vision'.
      names: of modules, without their 'weight' and 'bias' (which follow a '.', or the name where it ends with '_'), and
        of parameters.
      renamed: patterns of other names for the same, and what they are read as.
      flax: whether arrays and leaves are Flax's.
    """

    kind: str
    names: Mapping[str, str | tuple[str, ...]]
    renamed: tuple[tuple[str, str], ...] = ()
    flax: bool = False


def _each(before: str, names: str) -> tuple[str, ...]:
    return tuple(before + name for name in names.split())


_BLOCK = 'encoder.layer.{}.'
_HF_DINOV2 = {
    'patches': 'embeddings.patch_embeddings.projection',
    'positions': 'embeddings.position_embeddings',
    'class_token': 'embeddings.cls_token',
    'registers': 'embeddings.register_tokens',
    'blocks/norm1': _BLOCK + 'norm1',
    'blocks/attention/qkv': _each(_BLOCK + 'attention.attention.', 'query key value'),
    'blocks/attention/out': _BLOCK + 'attention.output.dense',
    'blocks/scale1': _BLOCK + 'layer_scale1.lambda1',
    'blocks/norm2': _BLOCK + 'norm2',
    'blocks/mlp/fc1': _BLOCK + 'mlp.fc1',
    'blocks/mlp/fc2': _BLOCK + 'mlp.fc2',
    'blocks/scale2': _BLOCK + 'layer_scale2.lambda1',
    'norm': 'layernorm',
}
_HF_VIT = _HF_DINOV2 | {
    'blocks/norm1': _BLOCK + 'layernorm_before',
    'blocks/norm2': _BLOCK + 'layernorm_after',
    'blocks/mlp/fc1': _BLOCK + 'intermediate.dense',
    'blocks/mlp/fc2': _BLOCK + 'output.dense',
}
_BLOCK = 'encoder.layers.{}.'
_HF_CLIP = {
    'patches': 'embeddings.patch_embedding',
    'positions': 'embeddings.position_embedding.weight',
    'class_token': 'embeddings.class_embedding',
    'pre_norm': 'pre_layrnorm',
    'blocks/norm1': _BLOCK + 'layer_norm1',
    'blocks/attention/qkv': _each(_BLOCK + 'self_attn.', 'q_proj k_proj v_proj'),
    'blocks/attention/out': _BLOCK + 'self_attn.out_proj',
    'blocks/norm2': _BLOCK + 'layer_norm2',
    'blocks/mlp/fc1': _BLOCK + 'mlp.fc1',
    'blocks/mlp/fc2': _BLOCK + 'mlp.fc2',
    'norm': 'post_layernorm',
    'pooling/probe': 'head.probe',
    'pooling/attention/qkv': 'head.attention.in_proj_',
    'pooling/attention/out': 'head.attention.out_proj',
    'pooling/norm': 'head.layernorm',
    'pooling/mlp/fc1': 'head.mlp.fc1',
    'pooling/mlp/fc2': 'head.mlp.fc2',
    'projection': BESIDE + 'visual_projection',
}
_BLOCK = 'blocks.{}.'
_TIMM = {
    'patches': 'patch_embed.proj',
    'positions': 'pos_embed',
    'class_token': 'cls_token',
    'registers': 'reg_token',
    'pre_norm': 'norm_pre',
    'blocks/norm1': _BLOCK + 'norm1',
    'blocks/attention/qkv': _BLOCK + 'attn.qkv',
    'blocks/attention/out': _BLOCK + 'attn.proj',
    'blocks/scale1': _BLOCK + 'ls1.gamma',
    'blocks/norm2': _BLOCK + 'norm2',
    'blocks/mlp/fc1': _BLOCK + 'mlp.fc1',
    'blocks/mlp/fc2': _BLOCK + 'mlp.fc2',
    'blocks/scale2': _BLOCK + 'ls2.gamma',
    'norm': 'norm',
    'pooling/probe': 'attn_pool.latent',
    'pooling/attention/qkv': _each('attn_pool.', 'q kv'),
    'pooling/attention/out': 'attn_pool.proj',
    'pooling/norm': 'attn_pool.norm',
    'pooling/mlp/fc1': 'attn_pool.mlp.fc1',
    'pooling/mlp/fc2': 'attn_pool.mlp.fc2',
    'projection': BESIDE + 'head.proj',
    'head': 'head',
}
_BLOCK = 'transformer.resblocks.{}.'
_OPEN_CLIP = {
    'patches': 'conv1',
    'positions': 'positional_embedding',
    'class_token': 'class_embedding',
    'pre_norm': 'ln_pre',
    'blocks/norm1': _BLOCK + 'ln_1',
    'blocks/attention/qkv': _BLOCK + 'attn.in_proj_',
    'blocks/attention/out': _BLOCK + 'attn.out_proj',
    'blocks/scale1': _BLOCK + 'ls_1.gamma',
    'blocks/norm2': _BLOCK + 'ln_2',
    'blocks/mlp/fc1': _BLOCK + 'mlp.c_fc',
    'blocks/mlp/fc2': _BLOCK + 'mlp.c_proj',
    'blocks/scale2': _BLOCK + 'ls_2.gamma',
    'norm': 'ln_post',
    'projection/kernel': 'proj',
}
_BLOCK = 'Transformer.encoderblock_{}.'
_BIG_VISION = {
    'patches': 'embedding',
    'positions': 'pos_embedding',
    'class_token': 'cls',
    'blocks/norm1': _BLOCK + 'LayerNorm_0',
    'blocks/attention/qkv': _each(_BLOCK + 'MultiHeadDotProductAttention_0.', 'query key value'),
    'blocks/attention/out': _BLOCK + 'MultiHeadDotProductAttention_0.out',
    'blocks/norm2': _BLOCK + 'LayerNorm_1',
    'blocks/mlp/fc1': _BLOCK + 'MlpBlock_0.Dense_0',
    'blocks/mlp/fc2': _BLOCK + 'MlpBlock_0.Dense_1',
    'norm': 'Transformer.encoder_norm',
    'pooling/probe': 'MAPHead_0.probe',
    'pooling/attention/qkv': _each('MAPHead_0.MultiHeadDotProductAttention_0.', 'query key value'),
    'pooling/attention/out': 'MAPHead_0.MultiHeadDotProductAttention_0.out',
    'pooling/norm': 'MAPHead_0.LayerNorm_0',
    'pooling/mlp/fc1': 'MAPHead_0.MlpBlock_0.Dense_0',
    'pooling/mlp/fc2': 'MAPHead_0.MlpBlock_0.Dense_1',
    'head': 'head',
}
LAYOUTS = (
    Layout('dinov2', _HF_DINOV2, ((r'\.mlp\.weights_in\.', '.mlp.fc1.'), (r'\.mlp\.weights_out\.', '.mlp.fc2.'))),
    Layout('vit', _HF_VIT),
    Layout('clip', _HF_CLIP),
    Layout(
        'timm',
        _TIMM,
        (
            (r'(^|\.)register_tokens$', r'\1reg_token'),
            (r'(^|\.)fc_norm\.', r'\1norm.'),
            (r'(^|\.)blocks\.\d+\.(\d+\.)', r'\1blocks.\2'),
            (r'\.mlp\.w12\.', '.mlp.fc1.'),
            (r'\.mlp\.w3\.', '.mlp.fc2.'),
            (r'\.gamma_([12])$', r'.ls\1.gamma'),
        ),
    ),
    Layout('open_clip', _OPEN_CLIP),
    Layout(
        'big_vision',
        _BIG_VISION,
        (
            (r'Transformer\.(posembed_input\.)?pos_embedding$', 'pos_embedding'),
            (r'\.MultiHeadDotProductAttention_1\.', '.MultiHeadDotProductAttention_0.'),
            (r'(encoderblock_\d+\.)LayerNorm_2\.', r'\1LayerNorm_1.'),
            (r'\.MlpBlock_3\.', '.MlpBlock_0.'),
        ),
        flax=True,
    ),
)


def _of_blocks(names: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    return {path: name for path, name in names.items() if path.startswith('blocks/')}


TEXT_LAYOUTS = (
    Layout(
        'clip',
        _of_blocks(_HF_CLIP)
        | {
            'tokens': 'embeddings.token_embedding.weight',
            'positions': 'embeddings.position_embedding.weight',
            'norm': 'final_layer_norm',
            'projection': BESIDE + 'text_projection',
        },
        ((r'(^|\.)text_model\.head\.', r'\1text_projection.'),),  # of SigLIP
    ),
    Layout(
        'open_clip',
        _of_blocks(_OPEN_CLIP)
        | {
            'tokens': 'token_embedding.weight',
            'positions': 'positional_embedding',
            'norm': 'ln_final',
            'projection': 'text_projection',
        },
        ((r'(^|\.)text_projection$', r'\1text_projection.weight'),),
    ),
)


def layout_names(layout: Layout, path: str, block: int = 0) -> tuple[str, ...]:
    """What a parameter is called, or its parts one after the other; () where a layout has none such.

    Args:
      layout: of the names.
      path: of the parameter, 'blocks/norm1/scale' for that of any block.
      block: number of the block.
    """
    names, leaf = layout.names.get(path), ''
    if names is None:
        module, _, leaf = path.rpartition('/')
        names = layout.names.get(module, ())
        leaf = leaf if layout.flax or leaf == 'bias' else 'weight'
    names = (names,) if isinstance(names, str) else names
    return tuple((name + ('.' if leaf and not name.endswith('_') else '') + leaf).format(block) for name in names)
