"use strict";
// What the page shows while somebody speaks: level, seconds of speech, and what to do better. All of it is an estimate
// for the person; the service measures the recording itself.

const STEP_MS = 50;
const SILENCE_DB = -60;
const OVER_NOISE_DB = 10; // speech stands out of the background by so much
const LEAST_SPEECH_DB = -50;
const HANGOVER_MS = 200; // the gaps between syllables are speech
const HINT_MS = 2000;

class Listener {
  constructor(stream) {
    this.context = new AudioContext();
    this.analyser = new AnalyserNode(this.context, { fftSize: 2048 });
    this.context.createMediaStreamSource(stream).connect(this.analyser);
    this.frame = new Float32Array(this.analyser.fftSize);
    this.speech = 0; // seconds
    this.level = SILENCE_DB; // dB of full scale
    this.floor = 0; // of the background
    this.spokenAt = this.heardAt = -Infinity;
    this.clippedAt = -Infinity;
    this.startedAt = this.measuredAt = performance.now();
  }

  measure() {
    const now = performance.now();
    this.analyser.getFloatTimeDomainData(this.frame);
    const power = this.frame.reduce((sum, sample) => sum + sample * sample, 0) / this.frame.length;
    this.level = Math.max(10 * Math.log10(power + 1e-12), -100);
    // The background falls to the quietest that was heard, and rises slowly where it grows.
    this.floor = Math.min(this.level, this.floor + (now - this.measuredAt) / 500);
    if (this.level > Math.max(this.floor + OVER_NOISE_DB, LEAST_SPEECH_DB)) this.spokenAt = now;
    if (now - this.spokenAt < HANGOVER_MS) this.speech += (now - this.measuredAt) / 1000;
    if (this.frame.some((sample) => Math.abs(sample) >= 0.99)) this.clippedAt = now;
    this.measuredAt = now;
  }

  get elapsed() {
    return (performance.now() - this.startedAt) / 1000;
  }

  hint() {
    const now = performance.now();
    if (now - this.startedAt < HINT_MS) return "";
    if (now - this.clippedAt < HINT_MS) return "Too loud: move away from the microphone.";
    if (this.floor > -45 && now - this.spokenAt > HINT_MS / 2) return "Noise: try a quieter place.";
    if (now - this.spokenAt > HINT_MS) return "Too quiet: speak up, or move closer to the microphone.";
    return "";
  }

  close() {
    return this.context.close();
  }
}
