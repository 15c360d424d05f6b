"""List files of MI3DOR: they say what the folders say, in the forms of public copies; and all that can be wrong."""

import pytest
from mi3dor_folders import CLASSES, write_lists, write_photos, write_views

from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from jaxret.errors import DataError

PHOTOS = ('list_source_train.txt', 'list_source_test.txt')
VIEWS = ('list_target_train.txt', 'list_target_test.txt')


def read(root, **options):
    defaults = {'photo_lists': PHOTOS, 'view_lists': VIEWS, 'views': 4, 'check_processes': 1, 'progress': False}
    return read_mi3dor(root, **(defaults | options))


def problems(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return [(problem.where.replace(f'{root.resolve()}/', ''), problem.found) for problem in caught.value.problems]


@pytest.fixture
def data(tmp_path):
    write_photos(tmp_path)
    write_views(tmp_path)
    assert write_lists(tmp_path) == (PHOTOS, VIEWS)
    return tmp_path


def change(file, edit):
    lines = file.read_text().splitlines()
    file.write_text('\n'.join(edit(lines)) + '\n')


def test_lists_say_what_the_folders_say(data):
    lists, folders = read(data, class_names='names.txt'), read(data, photo_lists=(), view_lists=())
    assert lists.photos == folders.photos and lists.shapes == folders.shapes
    assert lists.categories == folders.categories == CLASSES and lists.fingerprint == folders.fingerprint


def test_classes_are_named_by_number_or_in_the_files_order(data):
    assert read(data).categories == ('class_00', 'class_01', 'class_02')
    (data / 'names.txt').write_text('zebra\nape\nbee\n\n')
    dataset = read(data, class_names='names.txt')
    assert dataset.categories == ('zebra', 'ape', 'bee')  # not sorted: a label is a line's number
    assert {photo.category for photo in dataset.photos if '/box/' in photo.name} == {'ape'}
    assert read(data, class_names='names.txt', classes=('bee', 'zebra')).categories == ('zebra', 'bee')


def test_flat_views_and_paths_with_spaces(tmp_path):
    write_photos(tmp_path, classes=('big ball', 'box'))
    write_views(tmp_path, views=11, flat='.')
    write_lists(tmp_path, classes=('big ball', 'box'))
    change(tmp_path / VIEWS[0], lambda lines: [f'  ./{line}  ' for line in lines])
    dataset = read(tmp_path, views=11)
    assert dataset.categories == ('class_01',) and any('big ball' in str(item) for item in dataset.skipped) is False
    assert [view.name for view in dataset.shapes[0].views][8:] == [
        f'{dataset.shapes[0].key}.{number}.png' for number in (9, 10, 11)]  # fmt: skip


@pytest.mark.parametrize('form', ['folder', 'file'])
def test_a_line_may_stand_for_a_folder_of_views(data, form):
    """One line a shape: its folder, or one file of it, as a public copy of MI3DOR has it."""
    want = read(data, class_names='names.txt')
    for file in VIEWS:
        keep = [line for line in (data / file).read_text().splitlines() if '/1.png' in line]
        lines = [line.replace('/1.png', '') for line in keep] if form == 'folder' else keep
        (data / file).write_text('\n'.join(lines) + '\n')
    assert read(data, class_names='names.txt').shapes == want.shapes


@pytest.mark.parametrize('images', ['', 'images/'])
def test_paths_may_begin_at_the_list(tmp_path, images):
    """train/2D/label.txt with paths below train/2D or train/2D/images."""
    source = tmp_path / 'source'
    write_photos(source)
    write_views(source)
    write_lists(source)
    (tmp_path / 'data' / 'train').mkdir(parents=True)
    for folder in ('image', 'view'):
        (tmp_path / 'data' / 'train' / images).mkdir(exist_ok=True)
        (source / folder).rename(tmp_path / 'data' / 'train' / images / folder)
    lists = {}
    for key, files in (('photo_lists', PHOTOS), ('view_lists', VIEWS)):
        for file in files:
            (source / file).rename(tmp_path / 'data' / 'train' / file)
        lists[key] = tuple(f'train/{file}' for file in files)
    dataset = read(tmp_path / 'data', **lists)
    assert len(dataset.photos) == 18 and len(dataset.shapes) == 15
    assert dataset.photos[0].name.startswith(f'train/{images}image/')
    change(tmp_path / 'data' / lists['photo_lists'][0], lambda lines: ['image/gone.png 0', *lines])
    assert problems(tmp_path / 'data', **lists) == [(f'train/{images}image/gone.png', 'missing')]


def test_everything_wrong_with_photo_lists_is_told(data):
    edits = [
        ('no label at all', "'no label at all' is not a path and a whole number"),
        ('image/train/ball/photo_00.png', 'not a path and a whole number'),
        ('image/train/ball/photo_00.png 1.5', 'not a path and a whole number'),
        ('image/train/ball/photo_00.png 3', 'label 3, but labels are 0 to 2'),
        ('image/train/ball/photo_00.png -1', 'label -1, but labels are 0 to 2'),
        ('image/train/ball/photo_00.png 0', 'is listed before, in train'),
        ('7', "'7' has no path"),
        ('image/train/box/photo_00.png\t1', 'is listed before, in train'),
    ]
    change(data / PHOTOS[0], lambda lines: lines + [line for line, _ in edits] + ['', 'image/gone.jpg 2'])
    change(data / PHOTOS[1], lambda lines: [*lines, 'image/train/box/photo_01.png 1', '../names.txt 0'])
    found = problems(data, class_names='names.txt')
    for number, (_, what) in enumerate(edits, start=13):
        assert any(where == f'{PHOTOS[0]}, line {number}' and what in said for where, said in found)
    assert ('image/gone.jpg', 'missing') in found
    twice = 'image/train/box/photo_01.png is listed before, in train'
    assert (f'{PHOTOS[1]}, line 7', twice) in found
    assert any(said == 'leaves the data folder' for _, said in found)
    with pytest.raises(DataError, match='label -1, but labels are not negative'):
        read(data)


def test_everything_wrong_with_view_lists_is_told(data):
    def edit(lines):
        del lines[1]  # of shape 0
        lines[4] = lines[4].replace(' 0', ' 1')  # shape 1 has two labels
        lines[8] = lines[7]  # shape 2 has a view twice
        return lines + lines[-4:]  # the last shape comes twice, in one run

    change(data / VIEWS[0], edit)
    change(data / VIEWS[1], lambda lines: [*lines, 'view/train/ball/ball_0000/1.png 0'])
    (data / 'view/test/box/box_0003/2.png').unlink()
    found = problems(data)
    said = [what for _, what in found]
    assert sum('where 4 are wanted' in what for what in said) == 1
    assert any('3 views of shape view/train/ball/ball_0000, where 4' in what for what in said)
    assert any('the views of shape view/train/ball/ball_0001 have different labels' in what for what in said)
    assert any('shape view/train/ball/ball_0002 has a view twice' in what for what in said)
    assert any('shape view/train/cone/cone_0002 has a view twice' in what for what in said)
    assert any('shape view/train/ball/ball_0000 is listed before, in train' in what for what in said)
    assert ('view/test/box/box_0003/2.png', 'missing') in found


def test_lists_that_are_not_there_or_empty(data):
    (data / PHOTOS[0]).unlink()
    (data / VIEWS[1]).write_text('\n')
    (data / VIEWS[0]).write_bytes(b'\xff\xfe\x00')
    found = problems(data)
    assert (PHOTOS[0], 'missing') in found and (VIEWS[1], 'empty list') in found
    assert (f'{VIEWS[0]}, line 1', 'not UTF-16 (byte 0x00)') in found and len(found) == 3


@pytest.mark.parametrize(('text', 'found'), [('', 'no names'), ('ape\n\nbee\n', 'empty'), ('ape\nbee\nape\n', 'ape')])
def test_class_names_that_are_no_names(data, text, found):
    (data / 'names.txt').write_text(text)
    assert found in problems(data, class_names='names.txt')[0][1]
    assert problems(data, class_names='gone.txt') == [('gone.txt', 'missing')]


def as_windows(text):
    return text.replace('\n', '\r\n')


@pytest.mark.parametrize(
    'encoded',
    [
        lambda text: b'\xef\xbb\xbf' + text.encode(),
        lambda text: b'\xef\xbb\xbf' + as_windows(text).encode(),
        lambda text: as_windows(text).replace('\r\n', '  \t\r\n').encode('utf-16'),
        lambda text: b'\xfe\xff' + text.encode('utf-16-be'),
        lambda text: text.strip('\n').replace('\n', '\r').encode(),
    ],
)
def test_lists_as_editors_save_them(data, encoded):
    plain = read(data, class_names='names.txt')
    for file in (*PHOTOS, *VIEWS, 'names.txt'):
        (data / file).write_bytes(encoded((data / file).read_text()))
    dataset = read(data, class_names='names.txt', classes=CLASSES)
    assert (dataset.photos, dataset.shapes, dataset.categories) == (plain.photos, plain.shapes, plain.categories)


def test_other_encodings_are_named(data):
    text = (data / PHOTOS[0]).read_text()
    (data / PHOTOS[0]).write_bytes((text + 'image/train/ball/caf\xe9.png 0\n').encode('latin-1'))
    number = len(text.splitlines()) + 1
    assert problems(data) == [(f'{PHOTOS[0]}, line {number}', 'not UTF-8 (byte 0xe9)')]
    (data / PHOTOS[0]).write_bytes(text.encode('utf-16-le'))
    assert problems(data) == [(PHOTOS[0], 'zero bytes, so another encoding than UTF-8')]


def shift(file, step):
    change(file, lambda lines: [f'{line.split()[0]} {int(line.split()[1]) + step}' for line in lines])


def test_labels_that_are_counted_differently(data):
    shift(data / VIEWS[0], 1)
    found = "view/train/ball/ball_0000 has the label of {}, but by {} 'ball' is {} (9 of 9 so)"
    by_list = found.format('class_01', data.resolve() / PHOTOS[0], 'class_00')
    assert problems(data) == [(VIEWS[0], by_list)]
    change(data / VIEWS[0], lambda lines: [line for line in lines if not line.endswith('3')])
    found = "view/train/ball/ball_0000 has the label of box, but by the class names 'ball' is ball (6 of 6 so)"
    assert problems(data, class_names='names.txt') == [(VIEWS[0], found)]


def test_labels_in_another_order(data):
    order = {'0': '2', '1': '0', '2': '1'}
    change(data / PHOTOS[1], lambda lines: [f'{line[:-1]}{order[line[-1]]}' for line in lines])
    assert [where for where, _ in problems(data)] == [PHOTOS[1]]
    (data / 'names.txt').write_text('box\ncone\nball\n')  # another order than the lists'
    assert {where for where, _ in problems(data, class_names='names.txt')} == {PHOTOS[0], *VIEWS}


def test_labels_of_lists_without_class_folders(tmp_path):
    write_photos(tmp_path)
    write_views(tmp_path)
    write_lists(tmp_path)
    for file in (*PHOTOS, *VIEWS):
        change(tmp_path / file, lambda lines: [flat(tmp_path, line) for line in lines])
    assert len(read(tmp_path).categories) == 3
    for file in VIEWS:
        shift(tmp_path / file, 1)
    assert problems(tmp_path) == [
        (file, f'labels 1 to 3, where {tmp_path.resolve() / PHOTOS[0]} has 0 to 2') for file in VIEWS
    ]


def flat(root, line):
    """Moves the picture of a line out of the folder of its class."""
    path, label = line.split()
    parts = path.split('/')
    name = '/'.join([parts[0], parts[1], '-'.join([f'x{label}', *parts[3:]])])
    (root / path).rename(root / name)
    return f'{name} {label}'
