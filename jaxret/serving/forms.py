"""Fields of requests that no address knows are refused, not ignored."""

from fastapi import HTTPException, Request
from fastapi.dependencies.models import Dependant


async def no_unknown_fields(request: Request) -> None:
    """Refuses a POST request with a form field, or a field of its query, that its address does not take.

    Raises:
      HTTPException: 422, with the field's name and those that there are.
    """
    if request.method != 'POST':
        return
    known = _fields(request.scope['route'].dependant)
    given = [*(await request.form()).keys(), *request.query_params.keys()]
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        shown = ''.join(letter for letter in unknown if letter.isprintable())[:80]
        raise HTTPException(422, f'no field {shown!r}; choose from {", ".join(known) or "none"}')


def _fields(dependant: Dependant) -> list[str]:
    """Names of the fields of an address and of what it depends on."""
    own = [field.alias for field in (*dependant.body_params, *dependant.query_params)]
    return own + [name for each in dependant.dependencies for name in _fields(each)]
