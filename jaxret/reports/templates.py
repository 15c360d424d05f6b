"""Pages from the templates beside this file."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from jaxret.reports.palette import PAGE


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
    environment.filters['breakable'] = _breakable
    return environment.get_template(template).render(palette=PAGE, **values)


def _breakable(text: str) -> Markup:
    """Escaped text whose lines may end behind slashes and underscores too."""
    return Markup(re.sub(r'([/\\_])', r'\1<wbr>', str(escape(text))))
