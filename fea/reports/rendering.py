"""Templates of pages. They escape whatever a policy or a user wrote, and refuse a value that is not given."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def rendered(template: str, **values: object) -> bytes:
    """A page.

    Args:
        template: name of its file, beside this one.
        values: that stand in it.
    """
    # Of half a character, as in the name of a file, a page shows the escape.
    return _TEMPLATES.get_template(template).render(**values).encode(errors="backslashreplace")
