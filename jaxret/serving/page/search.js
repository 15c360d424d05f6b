// The page: a query goes to POST /search, its answer becomes a grid, a click on a result opens it in 3D.

import { Marking } from './marking.js';

const $ = (id) => document.getElementById(id);
const marking = new Marking($('stage'), $('photo'), $('marks'));
let about = null;  // GET /index
let query = null;  // the file that is asked with
let running = null;  // AbortController of the request under way

async function answerOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch { /* an answer that is none of the server's own, as of a proxy */ }
  if (!response.ok) throw new Error(body.message ?? `The server answered ${response.status}.`);
  return body;
}

async function describe() {
  about = await answerOf(await fetch('index'));
  $('description').textContent = `${about.shapes} shapes, ${about.categories.length} categories, ${about.system}`;
  $('invitation').textContent = `Drop, paste or choose a ${about.query_kinds.join(', a ').replace(/, (?=[^,]*$)/, ' or ')}`;
  $('file').accept = about.suffixes.join(',');
  $('top').max = about.top;
  $('top').value = Math.min($('top').value, about.top);
  $('finding').hidden = !about.finds_objects;
  $('saying').hidden = !about.takes_text;
  for (const { name, shapes } of about.categories) $('category').add(new Option(`${name} (${shapes})`, name));
}

function tell(error) {
  $('error').textContent = error ? error.message : '';
  $('error').hidden = !error;
}

async function take(file) {
  running?.abort();
  query = file;
  tell(null);
  $('status').textContent = '';
  $('results').replaceChildren();
  $('mask').value = '';
  $('name').textContent = file.name;
  try {
    await marking.show(file);
  } catch {  // a mesh, or a picture that only the server can read, or tells what is wrong with
    marking.hide();
  }
  if (query !== file) return;
  $('tools').hidden = $('stage').hidden;
  $('search').disabled = false;
  await search();
}

async function search() {
  const text = $('text').value.trim();
  if (!(query || text) || !$('query').reportValidity()) return;
  running?.abort();
  const own = running = new AbortController();
  tell(null);
  $('status').textContent = 'Searching …';
  try {
    if (query?.size > about.upload_bytes) {
      throw new Error(`${query.name} is larger than ${about.upload_bytes / 2 ** 20} MiB.`);
    }
    const form = new FormData();
    if (text) form.append('text', text);
    if (query) {
      form.append('file', query);
      const mask = $('mask').files[0] ?? await marking.mask();
      if (mask) form.append('mask', mask, mask.name ?? 'painted.png');
      if (marking.boxText()) form.append('box', marking.boxText());
      if ($('find').checked) form.append('find_object', 'true');
    }
    form.append('top', $('top').value);
    if ($('category').value) form.append('category', $('category').value);
    const answer = await answerOf(await fetch('search', { method: 'POST', body: form, signal: own.signal }));
    $('results').replaceChildren(...answer.results.map(card));
    $('status').textContent =
      `The best ${answer.results.length} of ${answer.shapes} shapes, in ${answer.seconds.toFixed(2)} s`;
  } catch (error) {
    if (own !== running) return;  // another search has taken over
    $('results').replaceChildren();
    $('status').textContent = '';
    tell(error instanceof TypeError ? new Error('The server cannot be reached, or refused the upload.') : error);
  }
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function card(result) {
  const angle = result.azimuth === null ? '' : `seen from ${Math.round(result.azimuth)}°`;
  const button = element('button', { type: 'button', title: result.id },
    element('img', { src: result.thumbnail, alt: '', loading: 'lazy' }),
    element('span', { className: 'heading' }, element('span', {}, `${result.rank}. ${result.category}`),
      element('span', {}, result.score.toFixed(3))),
    element('span', { className: 'id' }, result.id), element('span', { className: 'angle' }, angle));
  button.addEventListener('click', () => open(result));
  return element('li', {}, button);
}

function open(result) {
  $('shape-name').textContent = result.category ? `${result.category}: ${result.id}` : result.id;
  $('viewer').src = result.viewer;
  $('download').href = result.download;
  $('shape').showModal();
}

$('shape').addEventListener('close', () => { $('viewer').removeAttribute('src'); });
$('close').addEventListener('click', () => $('shape').close());
$('query').addEventListener('submit', (event) => { event.preventDefault(); search(); });
$('category').addEventListener('change', search);
$('text').addEventListener('input', () => { $('search').disabled = !(query || $('text').value.trim()); });
$('clear').addEventListener('click', () => { marking.clear(); $('mask').value = ''; });
$('width').addEventListener('input', () => { marking.brush = Number($('width').value); });
for (const radio of document.querySelectorAll('input[name=tool]')) {
  radio.addEventListener('change', () => { marking.tool = radio.value; });
}
$('file').addEventListener('change', () => {
  if ($('file').files[0]) take($('file').files[0]);
  $('file').value = '';  // so that the same file can be chosen again
});
document.addEventListener('paste', (event) => {
  if (event.clipboardData.files[0]) take(event.clipboardData.files[0]);
});
document.addEventListener('dragover', (event) => { event.preventDefault(); $('drop').classList.add('over'); });
document.addEventListener('dragleave', () => $('drop').classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  $('drop').classList.remove('over');
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});

describe().catch(tell);
