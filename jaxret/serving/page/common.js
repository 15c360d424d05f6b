// What the parts of the page share.

// The JSON of an answer; an Error with the server's message where it refuses.
export async function answerOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch { /* an answer that is none of the server's own, as of a proxy */ }
  if (!response.ok) throw new Error(body.message ?? `The server answered ${response.status}.`);
  return body;
}

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// An id without the name that all models share in layouts of a folder a model.
export function shownName(id) {
  return id.replace(/\/model\.[a-z0-9]+$/i, '');
}
