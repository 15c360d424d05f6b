"""Every loss test runs compiled and not."""

import jax
import pytest


@pytest.fixture(params=['jit', 'eager'])
def compiled(request):
    """A wrapper: `compiled(function)` is the function under jit, or the function itself."""
    return jax.jit if request.param == 'jit' else lambda function: function
