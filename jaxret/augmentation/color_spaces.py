"""Colour spaces: sRGB to and from CIE L*a*b*, Ruderman's l-alpha-beta and HSV.

Arrays are [..., 3]; RGB is in [0, 1] as decoded from files (sRGB gamma). Results are float32 at least.
"""

import chex
import jax.numpy as jnp
import numpy as np

# sRGB primaries, D65 (IEC 61966-2-1); the white point is RGB (1, 1, 1), so that greys have a = b = 0.
_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ_FROM_RGB.sum(axis=1)
_RGB_FROM_XYZ = np.linalg.inv(_XYZ_FROM_RGB)
# CIE Lab replaces the cube root by its tangent below this value.
_DELTA = 6 / 29

# Cone responses (Reinhard et al. 2001), and the decorrelated axes of their logarithms (Ruderman et al. 1998).
_LMS_FROM_RGB = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_RGB_FROM_LMS = np.linalg.inv(_LMS_FROM_RGB)
_AXES = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
_LMS_FLOOR = 1 / 255
# |log10 LMS| beyond this is far outside [0, 1] in RGB; without a bound an extreme transfer overflows to inf - inf.
_LOG_LIMIT = 6.0


def rgb_to_lab(rgb: chex.Array) -> chex.Array:
    """sRGB in [0, 1] to CIE L*a*b*, D65: L in [0, 100], a and b about [-110, 110].

    Args:
      rgb: [..., 3].

    Returns:
      [..., 3].

    Source: CIE 15; IEC 61966-2-1.
    """
    rgb = _float32(rgb)
    curved = rgb > 0.04045
    linear = jnp.where(curved, _power((jnp.where(curved, rgb, 1.0) + 0.055) / 1.055, 2.4), rgb / 12.92)
    xyz = _mix(linear, _XYZ_FROM_RGB / _WHITE[:, None])
    curved = xyz > _DELTA**3
    f = jnp.where(curved, _power(jnp.where(curved, xyz, 1.0), 1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: chex.Array) -> chex.Array:
    """CIE L*a*b*, D65, to sRGB. Colours outside sRGB give values outside [0, 1].

    Args:
      lab: [..., 3].

    Returns:
      [..., 3].
    """
    lab = _float32(lab)
    y = (lab[..., 0] + 16) / 116
    f = jnp.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = jnp.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29))
    linear = _mix(xyz, _RGB_FROM_XYZ * _WHITE[None, :])
    curved = linear > 0.0031308
    return jnp.where(curved, 1.055 * _power(jnp.where(curved, linear, 1.0), 1 / 2.4) - 0.055, 12.92 * linear)


def rgb_to_ruderman(rgb: chex.Array) -> chex.Array:
    """RGB in [0, 1] to Ruderman's l-alpha-beta: log10 of cone responses (floor 1/255), rotated to decorrelated axes.

    Args:
      rgb: [..., 3].

    Returns:
      [..., 3], in log10 units.

    Source: Ruderman et al. (JOSA A 1998); Reinhard et al. (IEEE CG&A 2001), equations 4 to 6.
    """
    lms = _mix(_float32(rgb), _LMS_FROM_RGB)
    return _mix(jnp.log10(jnp.maximum(lms, _LMS_FLOOR)), _AXES)


def ruderman_to_rgb(lab: chex.Array) -> chex.Array:
    """Ruderman's l-alpha-beta to RGB, which may lie outside [0, 1].

    Args:
      lab: [..., 3], in log10 units.

    Returns:
      [..., 3].
    """
    logs = jnp.clip(_mix(_float32(lab), _AXES.T), -_LOG_LIMIT, _LOG_LIMIT)  # the axes are orthonormal
    return _mix(10.0**logs, _RGB_FROM_LMS)


def rgb_to_hsv(rgb: chex.Array) -> chex.Array:
    """RGB in [0, 1] to hue (turns, [0, 1)), saturation and value; hue and saturation of greys are 0.

    Args:
      rgb: [..., 3].

    Returns:
      [..., 3].
    """
    rgb = _float32(rgb)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = jnp.max(rgb, axis=-1)
    chroma = value - jnp.min(rgb, axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    sextant = jnp.where(
        value == red,
        _wrap((green - blue) / safe, 6.0),
        jnp.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hue = _wrap(jnp.where(chroma > 0, sextant / 6.0, 0.0), 1.0)
    return jnp.stack([hue, chroma / jnp.where(value > 0, value, 1.0), value], axis=-1)


def hsv_to_rgb(hsv: chex.Array) -> chex.Array:
    """Hue (turns), saturation and value to RGB.

    Args:
      hsv: [..., 3].

    Returns:
      [..., 3].
    """
    hsv = _float32(hsv)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    channels = []
    for start in (5.0, 3.0, 1.0):
        place = _wrap(start + 6.0 * hue, 6.0)
        channels.append(value - value * saturation * jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0))
    return jnp.stack(channels, axis=-1)


def _float32(x: chex.Array) -> chex.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _power(x: chex.Array, exponent: float) -> chex.Array:
    """x^e of positive numbers; cheaper on CPUs than XLA's own power and cube root."""
    return jnp.exp(exponent * jnp.log(x))


def _wrap(x: chex.Array, period: float) -> chex.Array:
    """x modulo a period; `%` is not vectorised on CPUs."""
    return x - period * jnp.floor(x / period)


def _mix(x: chex.Array, matrix: np.ndarray) -> chex.Array:
    """matrix @ x over the last axis, as sums that fuse with what is around: a product of 3 columns is slower.

    Full precision on all devices, as colours would visibly shift without.
    """
    columns = np.asarray(matrix.T, x.dtype).reshape(3, *(1,) * (x.ndim - 1), 3)
    return sum(x[..., c : c + 1] * columns[c] for c in range(3))
