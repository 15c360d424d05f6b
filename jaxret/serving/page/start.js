// What the index holds, shown until there are results: how many shapes, their categories, some of their pictures.

import { breakable, element, plural } from './common.js';

const SAMPLES = 24;
const CATEGORIES = 30;
const $ = (id) => document.getElementById(id);

// `open` shows a shape by its address, `choose` takes a category as the filter.
export function showStart(about, open, choose) {
  const kinds = about.categories.length ? ` in ${plural(about.categories.length, 'category', 'categories')}` : '';
  $('holds').textContent = `${plural(about.shapes, 'model')}${kinds}`;
  const named = about.categories.slice(0, CATEGORIES).map(({ name, shapes }) => {
    const button = element('button', { type: 'button', title: `only ${name}` }, ...breakable(name), ` ${shapes}`);
    button.addEventListener('click', () => choose(name));
    return element('li', {}, button);
  });
  const more = about.categories.length - named.length;
  $('kinds').replaceChildren(...named, ...(more > 0 ? [element('li', {}, `and ${more} more`)] : []));
  const count = Math.min(SAMPLES, about.shapes);
  const numbers = Array.from({ length: count }, (_, place) => Math.floor((place + 0.5) * about.shapes / count));
  $('samples').replaceChildren(...numbers.map((number) => {
    const button = element('button', { type: 'button' },
      element('img', { src: `shapes/${number}/thumbnail`, alt: `model ${number + 1}`, loading: 'lazy' }));
    button.addEventListener('click', () => open(`shapes/${number}`));
    return element('li', {}, button);
  }));
}
