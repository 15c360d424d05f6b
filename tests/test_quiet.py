"""Filters of warnings are as they were, whichever thread leaves last."""

import warnings

import pytest

from jaxret.quiet import Quiet


def test_it_is_quiet_until_the_last_leaves():
    quiet = Quiet()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        before = list(warnings.filters)
        quiet.__enter__()
        quiet.__enter__()  # another thread
        warnings.warn('lost', stacklevel=1)
        quiet.__exit__(None, None, None)
        warnings.warn('lost', stacklevel=1)
        quiet.__exit__(None, None, None)
        assert warnings.filters == before
        with pytest.raises(UserWarning, match='told'):
            warnings.warn('told', stacklevel=1)
