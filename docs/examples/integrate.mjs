// Enroll a customer and verify a call. Node 18 or later, no packages.
//
//     export VOICEAUTH_URL=http://127.0.0.1:8000 TELLER_TOKEN=… IVR_TOKEN=…
//     node integrate.mjs enroll C-1001 one.wav two.wav three.wav
//     node integrate.mjs verify C-1001 call.wav
//     node integrate.mjs verify C-1001 call.ulaw mulaw        # samples without a header

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const URL_OF_API = `${process.env.VOICEAUTH_URL ?? "http://127.0.0.1:8000"}/api/v1`;
const PATIENCE_MS = 5000; // a caller is waiting

class Refused extends Error {
  constructor(status, { code, message }) {
    super(`${code}: ${message}`);
    Object.assign(this, { status, code });
  }
}

// Post JSON, or a form. A 503 or 429 is repeated after Retry-After, under the same key, so that nothing happens twice.
async function post(token, path, content) {
  const headers = { Authorization: `Bearer ${token}`, "Idempotency-Key": randomUUID() };
  const isForm = content instanceof FormData;
  if (!isForm) headers["Content-Type"] = "application/json";
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await fetch(URL_OF_API + path, { method: "POST", headers, body: isForm ? content : JSON.stringify(content) });
    if (answer.ok) return answer.json();
    const wait = Number(answer.headers.get("Retry-After")) * 1000;
    if (!wait || Date.now() + wait > deadline) {
      const body = await answer.json().catch(() => null); // a proxy answers with something else
      throw new Refused(answer.status, body?.error ?? { code: `http_${answer.status}`, message: answer.statusText });
    }
    await sleep(wait);
  }
}

async function form(recording, fields) {
  const content = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value) content.set(name, value);
  content.set("audio", new Blob([await readFile(recording)]), "audio");
  return content;
}

async function unless(code, call) {
  try {
    return await call;
  } catch (error) {
    if (error.code !== code) throw error;
  }
}

async function enroll(customerId, ...recordings) {
  const token = process.env.TELLER_TOKEN;
  const customer = `/customers/${encodeURIComponent(customerId)}`;
  const consent = { purpose: "voice_authentication", text_version: "2026-11", origin: "branch" };
  await unless("customer_exists", post(token, "/customers", { customer_id: customerId }));
  await unless("consent_exists", post(token, `${customer}/consent`, consent));
  for (const recording of recordings) {
    try {
      const answer = await post(token, `${customer}/enrollments`, await form(recording, {}));
      const held = answer.held_for.length ? `, held for ${answer.held_for.join(", ")}` : "";
      console.log(`${recording}: ${answer.state}, ${answer.remaining_seconds.toFixed(1)} s of speech are missing${held}`);
    } catch (error) {
      if (error.status !== 422) throw error; // 422: the recording will not do, and the message says why
      console.log(`${recording}: record it again: ${error.message}`);
    }
  }
}

async function verify(customerId, recording, format) {
  let answer;
  try {
    answer = await post(process.env.IVR_TOKEN, "/verify", await form(recording, { customer_id: customerId, format }));
  } catch (error) {
    if (error.status !== 503 && error.name !== "TypeError") throw error; // fetch's TypeError: no connection
    console.log(`${error.code ?? "unreachable"}: nothing was decided. Next: another factor`);
    return;
  }
  let next = answer.fallback; // REJECT, or there is no voiceprint: SPEAKER_NOT_ENROLLED, …_OPTED_OUT, …_EXPIRED
  if (answer.decision === "ACCEPT") next = answer.further_factor_required ? "a further factor" : "go on";
  if (["INCONCLUSIVE", "NOT_ENOUGH_SPEECH"].includes(answer.decision)) next = "ask the caller to speak again";
  console.log(`${[answer.decision, ...answer.reasons].join(" ")}. Next: ${next}`);
  if (answer.fraud_risk?.level === "HIGH_RISK") {
    console.log(`High risk of fraud: ${answer.fraud_risk.reasons.map((reason) => reason.code).join(" ")}`);
  }
  console.log(`Decision ${answer.decision_id}`); // keep it: a reviewer finds the call by it
}

const [command, ...rest] = process.argv.slice(2);
await { enroll, verify }[command](...rest);
