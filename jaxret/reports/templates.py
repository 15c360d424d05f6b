"""Pages from the templates beside this file."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def rendered(template: str, **values) -> str:
    """The page that a template makes of values; what they hold is shown as text, a value that is missing is an error.

    Args:
      template: file beside this one.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
