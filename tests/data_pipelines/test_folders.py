"""Paths that a data set's own files name: none leads out of its folder."""

from pathlib import Path

from data_pipelines.folders import leaves, outside


def test_only_names_that_lead_out_are_refused():
    names = ['img/a.png', 'img/../../b.png', '/etc/passwd', '..', 'a..b/c.png']
    assert [leaves(name) for name in names] == [False, True, True, True, False]
    (up, absolute, parent) = outside(Path('data'), names)
    assert up.where == 'data/img/../../b.png' and absolute.where == '/etc/passwd' and parent.found == up.found
