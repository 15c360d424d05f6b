// A photo on a canvas on which the object is marked with a box or a brush.
// The canvases have at most SHOWN pixels a side; box and mask are given in those of the photo.

const TINT = 'rgb(30 120 255)';
const SHOWN = 1200;

export class Marking {
  constructor(stage, photo, marks) {
    this.stage = stage;
    this.photo = photo;
    this.marks = marks;
    this.strokes = document.createElement('canvas');
    this.tool = 'box';
    this.brush = 8;  // percent of the photo's longer side
    this.clear();
    marks.addEventListener('pointerdown', (event) => this.begin(event));
    marks.addEventListener('pointermove', (event) => this.move(event));
    marks.addEventListener('pointerup', () => { this.last = null; });
    marks.addEventListener('pointercancel', () => { this.last = null; });
  }

  // Shows a photo as a viewer does (EXIF orientation applied, as the server does); throws if the browser cannot.
  async show(file) {
    const bitmap = await createImageBitmap(file);
    [this.width, this.height] = [bitmap.width, bitmap.height];
    const scale = Math.min(1, SHOWN / Math.max(this.width, this.height));
    for (const canvas of [this.photo, this.marks, this.strokes]) {
      canvas.width = Math.max(1, Math.round(this.width * scale));
      canvas.height = Math.max(1, Math.round(this.height * scale));
    }
    this.photo.getContext('2d').drawImage(bitmap, 0, 0, this.photo.width, this.photo.height);
    bitmap.close();
    this.clear();
    this.stage.hidden = false;
  }

  hide() {
    this.stage.hidden = true;
    this.clear();
  }

  clear() {
    this.box = null;
    this.painted = false;
    this.last = null;
    this.strokes.getContext('2d').clearRect(0, 0, this.strokes.width, this.strokes.height);
    this.draw();
  }

  begin(event) {
    this.marks.setPointerCapture(event.pointerId);
    this.last = this.point(event);
    if (this.tool === 'box') {
      this.clear();
      this.last = this.corner = this.point(event);
    } else {
      this.box = null;
      this.stroke(this.last, this.last);
    }
    event.preventDefault();
  }

  move(event) {
    if (!this.last) return;
    const point = this.point(event);
    if (this.tool === 'box') {
      const [[x, y], [u, v]] = [this.corner, point];
      this.box = [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
      this.draw();
    } else {
      this.stroke(this.last, point);
    }
    this.last = point;
  }

  stroke(from, to) {
    const context = this.strokes.getContext('2d');
    context.globalCompositeOperation = this.tool === 'eraser' ? 'destination-out' : 'source-over';
    context.strokeStyle = TINT;
    context.lineCap = 'round';
    context.lineWidth = this.brush / 100 * Math.max(this.strokes.width, this.strokes.height);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    this.painted ||= this.tool === 'brush';
    this.draw();
  }

  draw() {
    const { width, height } = this.marks;
    const context = this.marks.getContext('2d');
    context.clearRect(0, 0, width, height);
    if (this.painted) {
      context.globalAlpha = 0.45;
      context.drawImage(this.strokes, 0, 0);
      context.globalAlpha = 1;
    }
    if (this.box) {
      const [left, top, right, bottom] = this.box;
      context.fillStyle = 'rgb(0 0 0 / .5)';
      context.fillRect(0, 0, width, height);
      context.clearRect(left, top, right - left, bottom - top);
      context.strokeStyle = TINT;
      context.lineWidth = Math.max(width, height) / 200;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }

  point(event) {
    const area = this.marks.getBoundingClientRect();
    const clip = (value, limit) => Math.min(Math.max(value, 0), limit);
    return [clip((event.clientX - area.left) / area.width * this.marks.width, this.marks.width),
            clip((event.clientY - area.top) / area.height * this.marks.height, this.marks.height)];
  }

  // The box as the server reads it, null without one.
  boxText() {
    if (!this.box) return null;
    const [across, down] = [this.width / this.marks.width, this.height / this.marks.height];
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
