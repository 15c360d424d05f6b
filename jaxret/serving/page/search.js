// The page: a query goes to POST /search, its answer becomes a grid, a click on a result opens it in 3D.

import { Marking, Marks } from './marking.js';
import { answerOf, breakable, element, factLines, plural, shownName, swatches } from './common.js';
import { showStart } from './start.js';
import { forget, listReferences, noneOf, offer } from './teaching.js';

const KINDS = { photo: 'a photo', mesh: 'a mesh', points: 'a point cloud', scan: 'a scan' };
const NAMES = { pretrained: 'built-in model' };
const $ = (id) => document.getElementById(id);
const marking = new Marking($('stage'), $('photo'), $('marks'));
let about = null;  // GET /index
let items = [];  // what is asked with: { file, marks, mask }, several are photos of one object
let selected = null;  // the item that is shown
let answer = null;  // the last one
let running = null;  // AbortController of the request under way
let typing = null;  // timer of the category

async function describe() {
  about = await answerOf(await fetch('index'));
  const counts = [plural(about.shapes, 'shape'), plural(about.categories.length, 'category', 'categories')];
  $('description').textContent = `finds the CAD model that matches; ${counts.join(', ')}, ${NAMES[about.system] ?? about.system}`;
  const kinds = about.query_kinds.map((kind) => KINDS[kind] ?? kind);
  const last = kinds.length > 1 ? ` or ${kinds.pop()}` : '';
  $('invitation').textContent = `Drop, paste or choose ${kinds.join(', ')}${last}`;
  $('file').accept = about.suffixes.join(',');
  $('top').max = about.top;
  $('top').value = Math.min($('top').value, about.top);
  $('finding').hidden = !about.finds_objects;
  $('saying').hidden = !about.takes_text;
  $('purposes').hidden = about.purposes.length < 2;
  for (const name of about.purposes) $('purpose').add(new Option(name, name));
  for (const { name, shapes } of about.categories) {
    $('categories').append(element('option', { value: name, label: `${name} (${shapes})` }));
  }
  showStart(about, async (address) => {
    try {
      open(await answerOf(await fetch(address)));
    } catch (error) {
      tell(error);
    }
  }, (name) => {
    $('category').value = name;
    search();
  });
}

// Learnt of some photos, a chance is never certain.
function percent(chance) {
  return `${Math.min(Math.max(Math.round(100 * chance), 1), 99)} %`;
}

function tell(error) {
  $('error').textContent = error ? error.message : '';
  $('error').hidden = !error;
}

// Shows results of an answer; null for none.
function fill(found) {
  answer = found;
  $('start').hidden = Boolean(found);
  showFound();
  $('results').replaceChildren(...(found ? found.results.map(card) : []));
  const pictures = (found ? found.searched : []).map((address) => element('img', { src: address, alt: '' }));
  $('searched').replaceChildren($('searched').firstElementChild, ...pictures);
  $('searched').hidden = !pictures.length;
  const present = found?.results[0]?.present ?? 1;
  $('absent').textContent = `Probably none of these models (${percent(1 - present)})`;
  $('absent').hidden = present >= 0.5;
  $('teaching').hidden = !found || !about.teaches || !found.query || !found.results.length;
}

// Lays the mask with which the photo that is shown was searched over it.
function showFound() {
  const mask = answer?.masks[items.indexOf(selected)];
  const painted = selected?.mask ?? selected?.marks.painted;
  $('found').hidden = !mask || Boolean(painted && !selected.mask);
  if (mask) $('found').src = mask;
  $('how').textContent = mask ? 'What is dark does not count.' : 'Without a mark it is taken to fill the photo.';
}

// Asks with files: in the place of those before, or as more photos of the same object.
async function take(files, more = false) {
  running?.abort();
  tell(null);
  $('status').textContent = '';
  fill(null);
  forget();
  for (const { url } of more ? [] : items) URL.revokeObjectURL(url);
  const added = [...files].map((file) => ({ file, marks: new Marks(), mask: null, url: URL.createObjectURL(file) }));
  items = more ? [...items, ...added] : added;
  if (!await select(items.at(-1))) return;
  await search();
}

// Shows one of the items; false where another one was chosen meanwhile.
async function select(item) {
  if (selected !== item) $('standing').hidden = true;  // until the server says what it is
  selected = item;
  $('mask').value = '';
  $('name').textContent = item.mask ? `${item.file.name}, mask ${item.mask.name}` : item.file.name;
  try {
    await marking.show(item.file, item.marks);
  } catch {  // a mesh, or a picture that only the server can read, or tells what is wrong with
    marking.hide();
  }
  if (selected !== item) return false;
  $('tools').hidden = $('stage').hidden;
  $('adding').hidden = $('stage').hidden || about.photos < 2;
  $('photos').hidden = items.length < 2;
  $('photos').replaceChildren(...items.map((each, place) => photoButtons(each, place)));
  $('search').disabled = false;
  showFound();
  return true;
}

function photoButtons(item, place) {
  const show = element('button', { type: 'button', title: item.file.name },
    element('img', { src: item.url, alt: `photo ${place + 1}: ${item.file.name}` }));
  show.setAttribute('aria-pressed', String(item === selected));
  show.addEventListener('click', () => select(item));
  const remove = element('button', { type: 'button', className: 'remove', textContent: '\u00d7' });
  remove.setAttribute('aria-label', `leave out photo ${place + 1}`);
  remove.addEventListener('click', async () => {
    items = items.filter((other) => other !== item);
    URL.revokeObjectURL(item.url);
    if (await select(items.includes(selected) ? selected : items[0])) await search();
  });
  return element('li', {}, show, remove);
}

// Names of the categories that the text means: the one that it names, else all in which it occurs.
function meant() {
  const text = $('category').value.trim().toLowerCase();
  const names = about.categories.map(({ name }) => name);
  if (!text) return [];
  const exact = names.filter((name) => name.toLowerCase() === text);
  const found = exact.length ? exact : names.filter((name) => name.toLowerCase().includes(text));
  if (!found.length) throw new Error(`No category has "${$('category').value}" in its name.`);
  return found;
}

const words = () => about?.takes_text ? $('text').value.trim() : '';
const asks = () => items.length > 0 || words() !== '';

async function form() {
  const made = new FormData();
  const several = items.length > 1;
  for (const { file, marks, mask } of items) {
    made.append('file', file);
    const painted = mask ?? await marks.mask();
    if (painted) made.append('mask', painted, painted.name ?? 'painted.png');
    else if (several) made.append('mask', new Blob([]), 'none');
    if (several || marks.boxText()) made.append('box', marks.boxText() ?? '');
  }
  if (items.length && $('find').checked) made.append('find_object', 'true');
  if (words()) made.append('text', words());
  if (!$('standing').hidden && $('up-axis').value) made.append('up_axis', $('up-axis').value);
  if ($('purpose').value) made.append('purpose', $('purpose').value);
  if ($('where').value.trim()) made.append('where', $('where').value);
  made.append('top', $('top').value);
  for (const category of meant()) made.append('category', category);
  return made;
}

async function search() {
  if (!asks() || !$('query').reportValidity()) return;
  clearTimeout(typing);
  running?.abort();
  const own = running = new AbortController();
  tell(null);
  $('status').textContent = items.length && $('stage').hidden && !items[0].file.type.startsWith('image/')
    ? 'Searching, then laying the best on it …' : 'Searching …';
  try {
    if (items.length > about.photos) throw new Error(`At most ${about.photos} photos of one object.`);
    if (items.reduce((sum, { file }) => sum + file.size, 0) > about.upload_bytes) {
      const what = items.length > 1 ? 'The photos are' : `${items[0].file.name} is`;
      throw new Error(`${what} larger than ${(about.upload_bytes / 2 ** 20).toFixed(1)} MiB.`);
    }
    const body = await form();
    const found = await answerOf(await fetch('search', { method: 'POST', body, signal: own.signal }));
    fill(found);
    $('standing').hidden = !['mesh', 'points'].includes(found.kind);
    const without = found.left_out ? `; ${plural(found.left_out, 'shape')} left out whose files have no unit` : '';
    const order = found.results.some(({ distance }) => distance !== null) ? ', those that lie nearest to it first' : '';
    $('status').textContent = `The best ${found.results.length} of ${plural(found.shapes, 'shape')}${order}, in ${found.seconds.toFixed(2)} s${without}`;
  } catch (error) {
    if (own !== running) return;  // another search has taken over
    fill(null);
    $('status').textContent = '';
    tell(error instanceof TypeError ? new Error('The server cannot be reached, or refused the upload.') : error);
  }
}

function card(result) {
  const above = result.elevation === null ? '' : `, ${Math.round(result.elevation)}° above`;
  const angle = result.azimuth === null ? '' : `seen from ${Math.round(result.azimuth)}°${above}`;
  const apart = result.distance === null ? ''
    : `${(100 * result.mean_distance).toFixed(2)} % apart on the average, ${(100 * result.distance).toFixed(2)} % at most${result.mirrored ? ', mirrored' : ''}`;
  const sure = (result.present ?? 1) < 0.5 ? 'sure, if it is one of these' : 'sure';
  const chance = result.chance === null ? '' : `${percent(result.chance)} ${sure}`;
  const copy = result.copy_of ? `copy of ${shownName(result.copy_of)}` : '';
  const lines = [copy, apart, ...factLines(result.facts), angle, chance].filter(Boolean);
  const colors = swatches(result.facts);
  const button = element('button', { type: 'button', className: 'card', title: result.id },
    element('img', { src: result.thumbnail, alt: '', loading: 'lazy' }),
    element('span', { className: 'heading' }, element('span', {}, `${result.rank}. ${result.category}`),
      element('span', {}, result.score.toFixed(3))),
    element('span', { className: 'id' }, ...breakable(shownName(result.id))),
    ...(colors.length ? [element('span', { className: 'colors' }, ...colors)] : []),
    ...lines.map((line) => element('span', { className: 'angle' }, line)));
  button.addEventListener('click', () => open(result));
  const item = element('li', {}, button);
  if (about.teaches && answer.query) item.append(...offer(answer.query, result));
  return item;
}

function open(result) {
  const name = shownName(result.id);
  $('shape-name').replaceChildren(...breakable(result.category ? `${result.category}: ${name}` : name));
  $('viewer').src = result.viewer;
  $('download').href = result.download;
  const searched = answer?.searched ?? [];
  $('object').hidden = !searched.length;
  if (searched.length) $('object').src = searched[0];
  showFacts(result.facts);
  listReferences(result, about.teaches);
  $('shape').showModal();
}

// What a shape measures, in the dialog.
function showFacts(facts) {
  const told = [];
  if (facts) {
    const [size, surface] = factLines(facts);
    const [square, cubic] = facts.unit ? [' mm²', ' mm³'] : ['', ''];
    const number = (value) => Number(value.toPrecision(4)).toLocaleString('en', { maximumSignificantDigits: 4 });
    told.push(['width \u00d7 height \u00d7 depth', facts.unit ? size : `${size} (the file has no unit)`], ['surface', `${surface}${facts.watertight ? ', watertight' : ''}`]);
    if (facts.volume !== null) told.push(['volume', number(facts.volume) + cubic]);
    if (facts.area !== null) told.push(['area', number(facts.area) + square]);
    if (facts.name) told.push(['name', facts.name]);
    if (facts.unit) told.push(['unit of the file', facts.unit]);
    if (facts.colors.length) told.push(['colours', ...swatches(facts)]);
  }
  $('facts').replaceChildren(...told.map(([name, ...values]) => element('div', {}, element('dt', {}, name), element('dd', {}, ...values))));
}

$('shape').addEventListener('close', () => { $('viewer').removeAttribute('src'); });
$('close').addEventListener('click', () => $('shape').close());
$('query').addEventListener('submit', (event) => { event.preventDefault(); search(); });
$('category').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(search, 300);
});
for (const id of ['purpose', 'up-axis', 'where']) $(id).addEventListener('change', search);
$('text').addEventListener('input', () => { $('search').disabled = !asks(); });
$('clear').addEventListener('click', () => {
  marking.clear();
  if (selected) selected.mask = null;
  $('mask').value = '';
});
$('stage').addEventListener('marked', () => { $('found').hidden = true; });
$('mask').addEventListener('change', () => { selected.mask = $('mask').files[0] ?? null; });
$('width').addEventListener('input', () => { marking.brush = Number($('width').value); });
for (const radio of document.querySelectorAll('input[name=tool]')) {
  radio.addEventListener('change', () => { marking.tool = radio.value; });
}
for (const [id, more] of [['file', false], ['more', true]]) {
  $(id).addEventListener('change', () => {
    const files = [...$(id).files];
    $(id).value = '';  // so that the same file can be chosen again
    if (files.length) take(files, more);
  });
}
document.addEventListener('paste', (event) => {
  if (event.clipboardData.files.length) take([...event.clipboardData.files]);
});
document.addEventListener('dragover', (event) => { event.preventDefault(); $('drop').classList.add('over'); });
document.addEventListener('dragleave', () => $('drop').classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  $('drop').classList.remove('over');
  if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
});
$('none').addEventListener('click', () => noneOf(answer.query));

describe().catch(tell);
