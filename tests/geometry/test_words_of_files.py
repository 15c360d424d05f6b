"""Words and numbers of text files, against Python's own."""

import random

import numpy as np
import pytest

from jaxret.geometry.words import Words

FORMS = {
    'decimals': lambda x: f'{x:.6f}',
    'whole and decimal': lambda x: f'{x:.3f}' if x > 0 else str(int(x)),
    'points at the ends': lambda x: f'{int(x)}.' if x > 0 else f'-.{abs(int(x))}',
    'all digits': repr,
    'more digits than are exact': lambda x: f'{x:.20f}',
    'exponents': lambda x: f'{x:e}',
    'plus signs': lambda x: f'{x:+.2f}',
}


@pytest.mark.parametrize('form', FORMS)
def test_numbers_are_those_of_python(form):
    generator = random.Random(0)
    values = [generator.uniform(-1, 1) * 10 ** generator.randint(-8, 8) for _ in range(3000)] + [0.0, -0.0, -0.4]
    words = [FORMS[form](value) for value in values]
    found = Words(' \n'.join(words).encode() + b'\t').numbers()
    expected = np.array([float(word) for word in words])
    np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))  # zeros with their sign


def test_numbers_beyond_64_bits_and_none_at_all():
    text = b'9007199254740993 -99999999999999999999 1' + b'0' * 30 + b' nan -inf 0.' + b'0' * 30 + b'1'
    np.testing.assert_array_equal(Words(text).numbers(), [float(word) for word in text.split()])
    huge = b'-99999999999999999999 9007199254740993'
    np.testing.assert_array_equal(Words(huge).numbers(), [-1e20, 2.0**53])
    assert len(Words(b'').numbers()) == len(Words(b' \n\n ').numbers()) == 0


@pytest.mark.parametrize('word', ['1.2.3', '1-2', '-', '.', '--1', '1..', 'x', '1_0', '1e', '0x1', '1.5abc', '\u00bd'])
def test_what_is_no_number_is_named(word):
    for text in (word, f'1 2\n{word} 3', f'. {word}', f'1.5 {word} -2.5 3-4'):
        with pytest.raises(ValueError, match='is no number'):
            Words(text.encode()).numbers()
    assert Words(f'1 {word} 3'.encode()).integers() is None


def test_words_of_every_line():
    text = b'a b\n\n  cc\td \r\ne\n'
    for end, more in ((b'', []), (b'f', [1]), (b'\n', [0]), (b' ', [0])):
        assert Words(text + end).a_line().tolist() == [2, 0, 2, 1, *more]
    assert Words(b'').a_line().tolist() == [] and Words(b'\n').a_line().tolist() == [0]
    assert [Words(text)[number] for number in range(5)] == text.split() and len(Words(text)) == 5


def test_integers():
    assert Words(b'1 -20\n003 0').integers().tolist() == [1, -20, 3, 0]
    assert Words(b'1 2.0').integers() is None and Words(b'1 2e1').integers() is None
