"use strict";
// A recording as it comes through a telephone: 300 to 3400 Hz at 8 kHz, in G.711 mu-law, as a WAV file.

const TELEPHONE_RATE = 8000;

async function asTelephone(blob) {
  const context = new OfflineAudioContext(1, 1, TELEPHONE_RATE);
  const decoded = await context.decodeAudioData(await blob.arrayBuffer()); // resampled to the context's rate
  const line = new OfflineAudioContext(1, decoded.length, TELEPHONE_RATE);
  const source = new AudioBufferSourceNode(line, { buffer: decoded });
  const low = new BiquadFilterNode(line, { type: "highpass", frequency: 300 });
  const high = new BiquadFilterNode(line, { type: "lowpass", frequency: 3400 });
  source.connect(low).connect(high).connect(line.destination);
  source.start();
  const heard = await line.startRendering();
  return new Blob([muLawHeader(heard.length), Uint8Array.from(heard.getChannelData(0), muLaw)], { type: "audio/wav" });
}

// One sample in [-1, 1] as a byte (ITU-T G.711, mu-law).
function muLaw(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.round(Math.abs(sample) * 32767), 32635) + 132;
  const exponent = Math.floor(Math.log2(magnitude)) - 7;
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f;
  return ~(sign | (exponent << 4) | mantissa) & 0xff;
}

function muLawHeader(length) {
  const header = new DataView(new ArrayBuffer(46));
  const text = (at, words) => [...words].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"), header.setUint32(4, 38 + length, true), text(8, "WAVEfmt "), header.setUint32(16, 18, true);
  header.setUint16(20, 7, true), header.setUint16(22, 1, true); // mu-law, mono
  header.setUint32(24, TELEPHONE_RATE, true), header.setUint32(28, TELEPHONE_RATE, true);
  header.setUint16(32, 1, true), header.setUint16(34, 8, true);
  text(38, "data"), header.setUint32(42, length, true);
  return header.buffer;
}
