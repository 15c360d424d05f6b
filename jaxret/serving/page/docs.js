// The server's description (openapi.json) as a page on which every request can be tried.

import { element } from './common.js';

const SHOWN = 20000;  // letters of an answer
let schemas = {};

const resolved = (schema) => schema?.$ref ? schemas[schema.$ref.split('/').pop()] : schema ?? {};

// A schema without what stands for "or null", and whether it is a list.
function plain(schema) {
  const own = resolved(schema);
  const inner = own.anyOf?.find((each) => each.type !== 'null') ?? own;
  return inner.type === 'array' ? { ...resolved(inner.items), list: true } : resolved(inner);
}

function typeOf(schema) {
  const own = plain(schema);
  const name = own.contentMediaType || own.format === 'binary' ? 'file' : own.title && own.properties ? own.title : own.type ?? 'any';
  return own.list ? `${name}, may be repeated` : name;
}

function field(name, schema, { description = schema.description ?? '', required = false, place }) {
  const file = typeOf(schema).startsWith('file');
  const input = element('input', { name, type: file ? 'file' : 'text', required });
  if (file) input.multiple = true;
  input.dataset.place = place;
  if (resolved(schema).default !== undefined) input.placeholder = String(resolved(schema).default);
  return element('label', { className: 'field' }, element('span', {}, element('code', {}, name), ` ${typeOf(schema)}${required ? ', required' : ''}`),
    input, element('span', { className: 'hint' }, description));
}

async function send(form, path, method, output) {
  let address = path.slice(1);
  const [query, body] = [new URLSearchParams(), new FormData()];
  for (const input of form.elements) {
    const values = input.type === 'file' ? [...input.files] : input.value ? [input.value] : [];
    for (const value of values) {
      if (input.dataset.place === 'path') address = address.replace(`{${input.name}}`, encodeURIComponent(value));
      else (input.dataset.place === 'query' ? query : body).append(input.name, value);
    }
  }
  output.hidden = false;
  output.textContent = '…';
  try {
    const url = query.size ? `${address}?${query}` : address;
    const answer = await fetch(url, method === 'POST' ? { method, body } : { method });
    const type = answer.headers.get('content-type') ?? '';
    if (type.startsWith('image/')) {
      output.replaceChildren(`${answer.status}\n`, element('img', { src: URL.createObjectURL(await answer.blob()), alt: 'the answer' }));
    } else if (type.startsWith('application/json')) {
      output.textContent = `${answer.status}\n${JSON.stringify(await answer.json(), null, 1).slice(0, SHOWN)}`;
    } else {
      output.textContent = `${answer.status} ${type}: ${(await answer.blob()).size} bytes`;
    }
  } catch (error) {
    output.textContent = error.message;
  }
}

function answerFields(operation) {
  const schema = operation.responses?.['200']?.content?.['application/json']?.schema;
  const own = plain(schema);
  return Object.entries(own.properties ?? {}).map(([name, value]) => element('li', {},
    element('code', {}, name), ` ${typeOf(value)} `, element('span', { className: 'hint' }, value.description ?? '')));
}

function operationOf(path, method, operation) {
  const inputs = (operation.parameters ?? []).map((each) => field(each.name, each.schema, { ...each, place: each.in }));
  const body = resolved(Object.values(operation.requestBody?.content ?? {})[0]?.schema);
  for (const [name, schema] of Object.entries(body.properties ?? {})) {
    inputs.push(field(name, schema, { required: body.required?.includes(name), place: 'body' }));
  }
  const output = element('pre', { hidden: true });
  const form = element('form', {}, ...inputs, element('div', { className: 'row' }, element('button', {}, 'Send')), output);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send(form, path, method, output);
  });
  const fields = answerFields(operation);
  const answer = fields.length ? [element('h3', {}, 'Answer'), element('ul', {}, ...fields)] : [];
  return element('details', {}, element('summary', {}, element('b', {}, method), ' ', element('code', {}, path), ` ${operation.description ?? ''}`),
    form, ...answer);
}

const described = await (await fetch('openapi.json')).json();
schemas = described.components.schemas;
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    document.getElementById('operations').append(operationOf(path, method.toUpperCase(), operation));
  }
}
