"""The page in a real browser: headless Chromium by Playwright, its own or the system's."""

import io
import shutil

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
sync_api = pytest.importorskip('playwright.sync_api', reason="needs the extra 'browser'")
from small_service import listening, png, service, two_colors

PHOTO = {'name': 'photo.png', 'mimeType': 'image/png', 'buffer': png(two_colors(240, 160))}
TIMEOUT = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        found = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
        try:
            # SwiftShader draws WebGL without a graphics card
            opened = playwright.chromium.launch(
                executable_path=found,
                args=['--no-sandbox', '--enable-unsafe-swiftshader', '--use-gl=angle', '--use-angle=swiftshader'],
            )
        except sync_api.Error as error:
            pytest.skip(f'no Chromium here: {str(error).splitlines()[0]}')
        yield opened
        opened.close()


@pytest.fixture(scope='module')
def address(tmp_path_factory):
    with listening(service(tmp_path_factory.mktemp('service')).app) as (host, port):
        yield f'http://{host}:{port}/'


@pytest.fixture
def page(browser, address):
    """The page, opened; at the end nothing was asked of elsewhere, and nothing went wrong in its scripts."""
    context = browser.new_context(viewport={'width': 1200, 'height': 850})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    asked, faults = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('pageerror', lambda error: faults.append(str(error)))
    page.on('console', lambda message: faults.append(message.text) if message.type == 'error' else None)
    page.goto(address)
    sync_api.expect(page.locator('#description')).to_contain_text('6 shapes', timeout=TIMEOUT)
    yield page
    context.close()
    assert all(url.startswith((address, 'data:', 'blob:')) for url in asked), asked
    # a refused upload is an answer with a status that the console notes
    assert not [fault for fault in faults if 'status of 422' not in fault]


def results(page):
    """Ids of the results, once there is an answer."""
    sync_api.expect(page.locator('#status')).to_contain_text('shapes, in', timeout=TIMEOUT)
    return page.locator('#results .id').all_text_contents()


def search(page):
    with page.expect_response('**/search'):
        page.click('#search')


def drag(page, locator, start, end):
    """Drags over an element, from and to shares of its width and height."""
    box = page.locator(locator).bounding_box()
    places = [(box['x'] + x * box['width'], box['y'] + y * box['height']) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()


def test_start_shows_what_the_index_holds(page):
    sync_api.expect(page.locator('#invitation')).to_have_text('Drop, paste or choose a photo or a mesh')
    assert page.locator('#holds').text_content() == '6 models in 3 categories'
    assert page.locator('#kinds button').all_text_contents() == ['cold 2', 'none 2', 'warm 2']
    assert page.locator('#samples img').count() == 6
    page.click('#samples button >> nth=1')
    sync_api.expect(page.locator('#shape-name')).to_have_text('cold: cold/green.off')
    assert 'size1 × 2 × 2 (the file has no unit)' in page.locator('#facts').text_content()
    page.click('#close')
    page.click('#kinds button >> nth=2')
    page.set_input_files('#file', PHOTO)
    assert results(page) == ['warm/red.off', 'warm/yellow.off']
    assert not page.locator('#start').is_visible()


def test_conditions_and_facts(page):
    page.set_input_files('#file', PHOTO)
    results(page)
    lines = page.locator('#results .card').nth(1).locator('.angle').all_text_contents()
    assert len(lines) == 3 and lines[1] == '12 triangles'
    assert page.locator('#results .swatch').count() == page.locator('#results .id', has_text='red').count()
    with page.expect_response('**/search'):
        page.fill('#where', 'size<20mm')
        page.press('#where', 'Enter')
    sync_api.expect(page.locator('#status')).to_contain_text('6 shapes left out whose files have no unit')
    with page.expect_response('**/search'):
        page.fill('#where', 'weight<3kg')
        page.press('#where', 'Enter')
    sync_api.expect(page.locator('#error')).to_contain_text("no field 'weight'; choose from size")


def test_marks_by_keyboard(page):
    page.set_input_files('#file', PHOTO)
    assert results(page)[0] == 'cold/blue.off'
    page.focus('#marks')
    for _ in range(14):
        page.keyboard.press('ArrowLeft')  # a box in the middle, then to the left edge
    for _ in range(10):
        page.keyboard.press('Shift+ArrowLeft')
    search(page)
    sync_api.expect(page.locator('#results .id').first).to_have_text('warm/red.off')
    page.focus('#marks')
    page.keyboard.press('Delete')
    page.check('input[value=brush]')
    page.focus('#marks')
    for key in ['ArrowLeft'] * 20 + ['Shift+ArrowDown'] * 10:
        page.keyboard.press(key)
    search(page)
    sync_api.expect(page.locator('#results .id').first).to_have_text('warm/red.off')


def test_upload_results_and_category(page):
    page.set_input_files('#file', PHOTO)
    assert results(page)[0] == 'cold/blue.off'
    sizes = page.locator('#results img').evaluate_all(
        'images => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)))'
    )
    assert sizes == [192] * 5  # seen from where the photo was taken, not as indexed
    assert page.locator('#results .heading').first.text_content().startswith('1. cold')
    with page.expect_response('**/search'):
        page.fill('#category', 'War')  # filters while it is typed
    sync_api.expect(page.locator('#results li')).to_have_count(2)
    page.fill('#top', '1')
    search(page)
    sync_api.expect(page.locator('#results li')).to_have_count(1)


@pytest.mark.parametrize('tool', ['box', 'brush'])
def test_marked_object_is_searched(page, tool):
    page.set_input_files('#file', PHOTO)
    assert results(page)[0] == 'cold/blue.off'
    page.check(f'input[value={tool}]')
    if tool == 'box':
        drag(page, '#marks', (0.02, 0.02), (0.32, 0.98))
    else:
        drag(page, '#marks', (0.15, 0.1), (0.15, 0.9))
    search(page)
    sync_api.expect(page.locator('#results .id').first).to_have_text('warm/red.off')
    page.click('#clear')
    search(page)
    sync_api.expect(page.locator('#results .id').first).to_have_text('cold/blue.off')


def test_mask_file(page):
    page.set_input_files('#file', PHOTO)
    results(page)
    mask = np.zeros((160, 240), np.uint8)
    mask[:, :80] = 255
    assert not page.locator('#found').is_visible()
    page.set_input_files('#mask', {'name': 'mask.png', 'mimeType': 'image/png', 'buffer': png(mask)})
    search(page)
    sync_api.expect(page.locator('#results .id').first).to_have_text('warm/red.off')
    sync_api.expect(page.locator('#found')).to_be_visible()  # the mask, over the photo
    page.click('#clear')
    assert not page.locator('#found').is_visible()


def test_requests_are_described_and_tried(page, address):
    page.goto(f'{address}docs')
    page.click('summary:has-text("/health")')
    page.click('details[open] button')
    sync_api.expect(page.locator('details[open] pre')).to_contain_text('"status": "ok"')


@pytest.mark.parametrize('way', ['paste', 'drop'])
def test_paste_and_drop(page, way):
    page.evaluate(
        """([way, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'image.png', { type: 'image/png' }));
        document.dispatchEvent(way === 'paste' ? new ClipboardEvent('paste', { clipboardData: data })
                                               : new DragEvent('drop', { dataTransfer: data, cancelable: true }));
    }""",
        [way, list(PHOTO['buffer'])],
    )
    assert results(page)[0] == 'cold/blue.off'


def test_model_turns_in_3d_and_is_downloaded(page):
    page.set_input_files('#file', PHOTO)
    results(page)
    page.click('#results button.card')
    viewer = page.frame_locator('#viewer').locator('canvas')
    viewer.wait_for()

    def picture():
        return np.asarray(Image.open(io.BytesIO(page.locator('#viewer').screenshot())).convert('L')).astype(int)

    page.wait_for_timeout(500)
    before = picture()
    assert (before < 240).mean() > 0.05  # a grey shape on white
    drag(page, '#viewer', (0.5, 0.5), (0.8, 0.4))
    page.wait_for_timeout(500)
    assert (abs(picture() - before) > 20).mean() > 0.02
    with page.expect_download() as download:
        page.click('#download')
    assert download.value.suggested_filename == 'cold_blue.off'
    assert trimesh.load_mesh(download.value.path(), file_type='off').extents.tolist() == [1, 3, 2]
    page.frame_locator('#viewer').locator('body').focus()
    before = picture()
    for _ in range(3):
        page.keyboard.press('ArrowLeft')
    page.wait_for_timeout(300)
    assert (abs(picture() - before) > 20).mean() > 0.02
    page.click('#close')
    assert not page.locator('#shape').is_visible()


def test_bad_file_shows_its_message_and_the_next_one_works(page):
    page.set_input_files('#file', {'name': 'bad.png', 'mimeType': 'image/png', 'buffer': b'<b>no picture</b>'})
    sync_api.expect(page.locator('#error')).to_contain_text('bad.png: not an image', timeout=TIMEOUT)
    assert page.locator('#results li').count() == 0
    page.set_input_files('#file', PHOTO)
    assert results(page)[0] == 'cold/blue.off'
    assert not page.locator('#error').is_visible()
    page.set_input_files('#file', {'name': 'large.png', 'mimeType': 'image/png', 'buffer': bytes(300_000)})
    sync_api.expect(page.locator('#error')).to_contain_text('large.png is larger than')


def test_mesh_is_searched(page):
    mesh = trimesh.creation.box((1, 4, 1)).export(file_type='off').encode()
    page.set_input_files('#file', {'name': 'tall.off', 'mimeType': 'model/off', 'buffer': mesh})
    assert results(page)[0] == 'none/black.off'  # laid on the query, it fits best
    assert not page.locator('#tools').is_visible()
