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

// A name as nodes: a line may end after its words, which are not cut.
export function breakable(name) {
  return name.split(/(?<=[/_.\- ])/).flatMap((word, place) => place ? [document.createElement('wbr'), word] : [word]);
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

// Size and triangles of a shape in short lines; [] where nothing is known of it.
export function factLines(facts) {
  if (!facts) return [];
  const sides = (facts.size_mm ?? facts.size).map((side) => side === null ? '?' : String(Number(side.toPrecision(4))));
  const surface = `${plural(facts.triangles, 'triangle')}${facts.watertight ? '' : ', open'}`;
  return [`${sides.join(' \u00d7 ')}${facts.size_mm ? '\u00a0mm' : ''}`, surface];
}

// The colours of a shape's materials, as an SVG each so that no style is inline.
export function swatches(facts) {
  return (facts?.colors ?? []).map((color) => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    for (const [name, value] of Object.entries({ viewBox: '0 0 1 1', class: 'swatch', role: 'img', 'aria-label': color })) {
      svg.setAttribute(name, value);
    }
    const square = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    for (const [name, value] of Object.entries({ width: 1, height: 1, fill: color })) square.setAttribute(name, value);
    const title = document.createElementNS('http://www.w3.org/2000/svg', 'title');
    title.textContent = color;
    svg.append(square, title);
    return svg;
  });
}
