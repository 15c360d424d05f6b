"""Loss tests run compiled; one of each function also runs as it is: `parametrize("compiled", ..., indirect=True)`."""

import jax
import pytest


@pytest.fixture
def compiled(request):
    """A wrapper: `compiled(function)` is the function under jit, or for 'eager' the function itself."""
    return jax.jit if getattr(request, 'param', 'jit') == 'jit' else lambda function: function
