// A photo on a canvas on which the object is marked with a box or a brush, and what is marked in it (Marks).
// The canvases have at most SHOWN pixels a side; box and mask are given in those of the photo.

const TINT = 'rgb(30 120 255)';
const SHOWN = 1200;
const STEP = 0.02;  // of the longer side, that an arrow key moves
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// What is marked in one photo; it has no size until the photo is shown.
export class Marks {
  constructor() {
    this.strokes = document.createElement('canvas');
    this.strokes.width = 0;
    this.clear();
  }

  clear() {
    this.box = null;
    this.painted = false;
    this.strokes.getContext('2d').clearRect(0, 0, this.strokes.width, this.strokes.height);
  }

  // The box as the server reads it, null without one.
  boxText() {
    if (!this.box) return null;
    const [across, down] = [this.width / this.strokes.width, this.height / this.strokes.height];
    const [left, top, right, bottom] = this.box;
    return [left * across, top * down, right * across, bottom * down].map((value) => value.toFixed(1)).join(',');
  }

  // What was painted, as a picture that is white on the object and black elsewhere; null if nothing was.
  async mask() {
    if (!this.painted) return null;
    const canvas = document.createElement('canvas');
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = 'destination-in';
    context.drawImage(this.strokes, 0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = 'destination-over';
    context.fillStyle = 'black';
    context.fillRect(0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  }
}

export class Marking {
  constructor(stage, photo, canvas) {
    this.stage = stage;
    this.photo = photo;
    this.canvas = canvas;
    this.marks = new Marks();
    this.tool = 'box';
    this.brush = 8;  // percent of the photo's longer side
    this.last = this.cursor = null;
    canvas.addEventListener('pointerdown', (event) => this.begin(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', () => { this.last = null; });
    canvas.addEventListener('pointercancel', () => { this.last = null; });
    canvas.addEventListener('keydown', (event) => this.key(event));
    for (const name of ['focus', 'blur']) canvas.addEventListener(name, () => this.draw());
  }

  // Shows a photo as a viewer does (EXIF orientation applied, as the server does), with its marks; throws if the
  // browser cannot.
  async show(file, marks) {
    this.latest = marks;
    const bitmap = await createImageBitmap(file);
    if (this.latest !== marks) return;  // another one was chosen meanwhile
    const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    for (const canvas of [this.photo, this.canvas]) [canvas.width, canvas.height] = [width, height];
    if (!marks.strokes.width) {
      [marks.width, marks.height] = [bitmap.width, bitmap.height];
      [marks.strokes.width, marks.strokes.height] = [width, height];
    }
    this.photo.getContext('2d').drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    this.marks = marks;
    this.last = this.cursor = null;
    this.draw();
    this.stage.hidden = false;
  }

  hide() {
    this.stage.hidden = true;
  }

  clear() {
    this.marks.clear();
    this.last = null;
    this.draw();
    this.stage.dispatchEvent(new Event('marked'));
  }

  // Marks by keyboard: arrows move the box or the brush, with Shift they change the box or paint.
  key(event) {
    if (event.key === 'Delete' || event.key === 'Backspace') this.clear();
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const { width, height } = this.canvas;
    const step = STEP * Math.max(width, height);
    const clip = ([x, y]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
    const moved = ([x, y]) => clip([x + step * arrow[0], y + step * arrow[1]]);
    if (this.tool === 'box') {
      const [left, top, right, bottom] = this.marks.box ?? [width / 4, height / 4, width * 3 / 4, height * 3 / 4];
      const [start, end] = [event.shiftKey ? [left, top] : moved([left, top]), moved([right, bottom])];
      if (this.marks.box && end[0] - start[0] >= 1 && end[1] - start[1] >= 1) this.marks.box = [...start, ...end];
      else this.marks.box ??= [left, top, right, bottom];
      this.draw();
    } else {
      const from = this.cursor ?? [width / 2, height / 2];
      this.cursor = moved(from);
      if (event.shiftKey) {
        this.marks.box = null;
        this.stroke(from, this.cursor);
      }
      this.draw();
    }
    this.stage.dispatchEvent(new Event('marked'));
  }

  begin(event) {
    this.stage.dispatchEvent(new Event('marked'));
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.point(event);
    if (this.tool === 'box') {
      this.clear();
      this.last = this.corner = this.point(event);
    } else {
      this.marks.box = null;
      this.stroke(this.last, this.last);
    }
    event.preventDefault();
  }

  move(event) {
    if (!this.last) return;
    const point = this.point(event);
    if (this.tool === 'box') {
      const [[x, y], [u, v]] = [this.corner, point];
      this.marks.box = [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
      this.draw();
    } else {
      this.stroke(this.last, point);
    }
    this.last = point;
  }

  stroke(from, to) {
    const context = this.marks.strokes.getContext('2d');
    context.globalCompositeOperation = this.tool === 'eraser' ? 'destination-out' : 'source-over';
    context.strokeStyle = TINT;
    context.lineCap = 'round';
    context.lineWidth = this.brush / 100 * Math.max(this.marks.strokes.width, this.marks.strokes.height);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    this.marks.painted ||= this.tool === 'brush';
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    if (this.marks.painted) {
      context.globalAlpha = 0.45;
      context.drawImage(this.marks.strokes, 0, 0);
      context.globalAlpha = 1;
    }
    if (this.marks.box) {
      const [left, top, right, bottom] = this.marks.box;
      context.fillStyle = 'rgb(0 0 0 / .5)';
      context.fillRect(0, 0, width, height);
      context.clearRect(left, top, right - left, bottom - top);
      context.strokeStyle = TINT;
      context.lineWidth = Math.max(width, height) / 200;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    if (this.cursor && this.tool !== 'box' && document.activeElement === this.canvas) {
      context.strokeStyle = TINT;
      context.lineWidth = Math.max(width, height) / 200;
      context.beginPath();
      context.arc(...this.cursor, this.brush / 200 * Math.max(width, height), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  point(event) {
    const area = this.canvas.getBoundingClientRect();
    const clip = (value, limit) => Math.min(Math.max(value, 0), limit);
    return [clip((event.clientX - area.left) / area.width * this.canvas.width, this.canvas.width),
            clip((event.clientY - area.top) / area.height * this.canvas.height, this.canvas.height)];
  }
}
