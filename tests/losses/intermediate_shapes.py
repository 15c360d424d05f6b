"""Shapes of everything that a function computes on the way, without running it."""

import jax


def intermediate_shapes(function, *arguments):
    """Shapes of all results in the function's jaxpr, inner jaxprs included."""
    return list(_walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def _walk(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else [parameter]:
                if hasattr(inner, 'eqns'):
                    yield from _walk(inner)
                elif hasattr(inner, 'jaxpr'):
                    yield from _walk(inner.jaxpr)
