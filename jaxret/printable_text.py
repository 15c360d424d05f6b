"""Names of files as they can be shown: whoever made the files chose the names."""

import unicodedata


def printable(text: str) -> str:
    """The text with control characters, line breaks, marks of direction and lone surrogates as escapes such as \\n."""
    return ''.join(char if char.isprintable() or unicodedata.category(char) == 'Zs' else
                   char.encode('unicode_escape').decode() for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, line breaks left as they are: for messages of several lines."""
    return '\n'.join(map(printable, text.split('\n')))
