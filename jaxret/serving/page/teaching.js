// Which model a photo shows: said with a button on a result, taken back with another; and what is known of a model.

import { answerOf, element, shownName } from './common.js';

const $ = (id) => document.getElementById(id);
// Who teaches, for the undo. (crypto.randomUUID is not there without encryption.)
const session = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
let done = [];  // what was taught here, newest last: functions that show that it is taken back

function say(text) {
  $('taught').textContent = text;
}

async function send(address, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return answerOf(await fetch(address, { method: 'POST', body }));
}

function isTaught(undone) {
  done.push(undone);
  $('undo').disabled = false;
}

// Buttons and notes below a result.
export function offer(query, result) {
  const count = element('span', { className: 'count' });
  const button = element('button', { type: 'button', className: 'teach', textContent: 'This is the one' });
  button.setAttribute('aria-label', `This is the one: ${shownName(result.id)}`);
  const show = (references) => {
    result.references = references;
    count.textContent = references ? `${references} known photo${references > 1 ? 's' : ''}` : '';
  };
  show(result.references);
  result.show = show;
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const before = result.references;
      const { new: added, references } = await send('references', { query, session, shape: result.number });
      show(references);
      say(added ? `The photo is known as ${shownName(result.id)} now.` : 'That was known already.');
      if (added) {
        isTaught(() => {
          button.disabled = false;
          show(before);
        });
      }
    } catch (error) {
      button.disabled = false;
      say(error.message);
    }
  });
  return [button, count];
}

// The results are gone, so that nothing on them shows what is taken back.
export function forget() {
  done = done.map(() => () => {});
  say('Say which one it is: the next search knows.');
}

// The photo of a query shows none of the models.
export async function noneOf(query) {
  try {
    await send('references', { query, session });
    isTaught(() => {});
    say('Noted: none of these.');
  } catch (error) {
    say(error.message);
  }
}

$('undo').addEventListener('click', async () => {
  try {
    const { shapes } = await send('references/undo', { session });
    if (shapes.length) done.pop()?.();
    else done = [];
    say(shapes.length ? 'Taken back.' : 'There is nothing to take back.');
    $('undo').disabled = !done.length;
  } catch (error) {
    say(error.message);
  }
});

// The known photos of a result's model, in the dialog.
export async function listReferences(result, teaches) {
  $('known').hidden = true;
  $('references').replaceChildren();
  if (!result.references) return;
  const name = $('shape-name').textContent;
  const known = await fetch(`shapes/${result.number}/references`).then(answerOf).catch(() => []);
  if ($('shape-name').textContent !== name) return;  // another one was opened
  $('references').replaceChildren(...known.map((reference) => {
    const item = element('li', {}, element('img', { src: reference.picture, alt: reference.photo, title: reference.photo }));
    if (teaches) {
      const remove = element('button', { type: 'button', className: 'remove', textContent: '\u00d7' });
      remove.setAttribute('aria-label', `remove ${reference.photo}`);
      remove.addEventListener('click', async () => {
        try {
          await answerOf(await fetch(`references/${reference.number}`, { method: 'DELETE' }));
          const next = item.nextElementSibling ?? item.previousElementSibling;
          item.remove();
          (next?.querySelector('button') ?? $('close')).focus();
          result.show?.(result.references - 1);
        } catch (error) {
          say(error.message);
        }
      });
      item.append(remove);
    }
    return item;
  }));
  $('known').hidden = !known.length;
}
