"use strict";
// Recordings side by side: each is fetched once, which the trail records as listening, drawn, and played in step.

const RATE = 8000; // Hz: telephone speech, and the lower half of what is wider
const SIZE = 256; // samples of a spectrum
const RANGE_DB = 60;

const hann = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
const cosine = Float32Array.from({ length: SIZE }, (_, i) => Math.cos((2 * Math.PI * i) / SIZE));

// The power in decibels of each of SIZE / 2 bands of the samples from `start` on.
function spectrum(samples, start) {
  const bands = new Float32Array(SIZE / 2);
  for (let band = 0; band < bands.length; band++) {
    let [real, imaginary] = [0, 0];
    for (let i = 0; i < SIZE; i++) {
      const value = (samples[start + i] ?? 0) * hann[i];
      real += value * cosine[(band * i) % SIZE];
      imaginary += value * cosine[(band * i + SIZE / 4) % SIZE];
    }
    bands[band] = 10 * Math.log10(real * real + imaginary * imaginary + 1e-12);
  }
  return bands;
}

class Recording {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.audio = figure.querySelector("audio");
    this.choice = figure.querySelector("input[type=radio]");
    this.begins = Number(figure.dataset.begins);
    this.marks = figure.dataset.marks.trim().split(" ").filter(Boolean).map((mark) => mark.split("-").map(Number));
  }

  async load() {
    const response = await fetch(this.figure.dataset.source);
    if (!response.ok) throw new Error(await response.text());
    const blob = await response.blob();
    const bytes = await blob.arrayBuffer();
    this.audio.src = URL.createObjectURL(blob); // played from here on, without another request
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
    this.samples = decoded.getChannelData(0);
    this.seconds = decoded.duration;
    this.canvas.hidden = false;
    this.choice.closest("label").hidden = false;
  }

  get ends() {
    return this.begins + this.seconds;
  }

  // The picture of what lies between `from` and `to` on the axis, once; `paint` adds where it is played.
  draw(from, to) {
    const { width, height } = this.canvas;
    const [ink, mark] = ["color", "outlineColor"].map((name) => getComputedStyle(this.canvas)[name]);
    const picture = new OffscreenCanvas(width, height);
    const context = picture.getContext("2d");
    const [half, bandHeight] = [height * 0.35, (height * 0.65) / (SIZE / 2)];
    const x = (seconds) => ((this.begins + seconds - from) / (to - from)) * width;
    context.fillStyle = mark;
    context.globalAlpha = 0.28;
    for (const [start, end] of this.marks) {
      context.fillRect(x(start), 0, x(Math.min(end, this.seconds)) - x(start), height);
    }
    context.fillStyle = ink;
    const columns = [];
    for (let column = Math.max(0, Math.ceil(x(0))); column < Math.min(width, x(this.seconds)); column++) {
      const seconds = (at) => from + (at / width) * (to - from) - this.begins;
      const [first, last] = [column, column + 1].map((at) => Math.max(0, Math.round(seconds(at) * RATE)));
      let [low, high] = [0, 0];
      for (let i = first; i < last; i++) {
        low = Math.min(low, this.samples[i] ?? 0);
        high = Math.max(high, this.samples[i] ?? 0);
      }
      context.globalAlpha = 1;
      context.fillRect(column, (half / 2) * (1 - high), 1, Math.max(1, (half / 2) * (high - low)));
      columns.push([column, spectrum(this.samples, first)]);
    }
    const loudest = columns.reduce((most, [, bands]) => bands.reduce((a, b) => Math.max(a, b), most), -120);
    for (const [column, bands] of columns) {
      bands.forEach((power, band) => {
        context.globalAlpha = Math.max(0, 1 - (loudest - power) / RANGE_DB) ** 1.5;
        context.fillRect(column, height - (band + 1) * bandHeight, 1, bandHeight + 0.5);
      });
    }
    this.picture = picture;
    this.mark = mark;
    this.paint(from, to);
  }

  paint(from, to) {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.picture, 0, 0);
    context.fillStyle = this.mark;
    context.fillRect(((this.begins + this.audio.currentTime - from) / (to - from)) * width - 1, 0, 2, height);
  }
}

class Comparison {
  constructor(section) {
    this.section = section;
    this.recordings = [...section.querySelectorAll("figure")].map((figure) => new Recording(figure));
    [this.button, this.play, this.position, this.whole, this.status] = ["load", "play", "position", "whole", "status"].map(
      (name) => section.querySelector(`[data-${name}]`),
    );
    this.button.onclick = () => this.load();
    this.play.onclick = () => (this.running ? this.stop() : this.start());
    this.whole.onchange = () => this.redraw();
    this.position.oninput = () => this.seek(Number(this.position.value));
    for (const each of this.recordings) {
      each.choice.onchange = () => this.hear(each);
      each.canvas.onclick = (event) => this.seek(this.from + (event.offsetX / each.canvas.clientWidth) * (this.to - this.from));
      each.audio.onplay = () => {
        if (!this.running) each.audio.muted = false;
        this.follow();
      };
      each.audio.onseeked = () => this.paint();
    }
    this.running = false;
    this.heard = this.recordings[0];
  }

  async load() {
    this.button.disabled = true;
    this.status.textContent = "Loading …";
    const results = await Promise.allSettled(this.recordings.map((each) => each.load()));
    this.drawn = this.recordings.filter((each) => each.samples !== undefined);
    const failed = results.filter((each) => each.status === "rejected").length;
    this.status.textContent = failed > 0 ? `${failed} of the recordings cannot be drawn by this browser.` : "";
    this.button.hidden = true;
    if (this.drawn.length === 0) return;
    this.play.hidden = this.position.hidden = this.whole.closest("label").hidden = false;
    this.redraw();
    matchMedia("(prefers-color-scheme: dark)").onchange = () => this.redraw();
    this.play.focus();
    this.hear(this.drawn.find((each) => each.choice.checked) ?? this.drawn[0]);
    this.section.dataset.ready = "";
  }

  // From where to where: around the first recording, which is the one in question, or everything.
  redraw() {
    const [first, margin] = [this.drawn[0], this.drawn[0].seconds * 0.08];
    this.from = this.whole.checked ? 0 : Math.max(0, first.begins - margin);
    this.to = this.whole.checked ? Math.max(...this.drawn.map((each) => each.ends)) : first.ends + margin;
    Object.assign(this.position, { min: this.from, max: this.to });
    for (const each of this.drawn) each.draw(this.from, this.to);
    this.seek(this.at);
  }

  hear(chosen) {
    this.heard = chosen;
    chosen.choice.checked = true;
    for (const each of this.drawn) each.audio.muted = each !== chosen;
  }

  start() {
    this.running = true;
    this.play.textContent = "Pause";
    this.hear(this.heard);
    if (this.at >= this.to - 0.05) this.seek(this.from);
    this.clock = performance.now() - this.at * 1000;
    this.follow();
  }

  stop() {
    this.running = false;
    this.play.textContent = "Play in step";
    for (const each of this.drawn) each.audio.pause();
  }

  get at() {
    return Number(this.position.value);
  }

  seek(position) {
    this.position.value = position;
    this.clock = performance.now() - position * 1000;
    for (const each of this.drawn) {
      each.audio.currentTime = Math.min(Math.max(0, position - each.begins), each.seconds);
    }
    this.paint();
  }

  // While something plays: all at one position, and the line in each picture where it is.
  follow() {
    if (this.drawn === undefined || this.following) return;
    this.following = true;
    const step = () => {
      if (this.running) this.align();
      this.paint();
      this.following = this.running || this.drawn.some((each) => !each.audio.paused);
      if (this.following) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  align() {
    const position = (performance.now() - this.clock) / 1000;
    this.position.value = position;
    if (position >= this.to) return this.stop();
    for (const each of this.drawn) {
      const own = position - each.begins;
      const within = own >= 0 && own < each.seconds - 0.02;
      if (within && Math.abs(each.audio.currentTime - own) > 0.15) each.audio.currentTime = own;
      if (within && each.audio.paused) each.audio.play();
      if (!within && !each.audio.paused) each.audio.pause();
    }
  }

  paint() {
    for (const each of this.drawn ?? []) each.paint(this.from, this.to);
  }
}

for (const section of document.querySelectorAll("[data-compare]")) new Comparison(section);
