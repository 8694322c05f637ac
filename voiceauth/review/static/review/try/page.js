"use strict";
// Records with the microphone, sends what was recorded or chosen, and shows the page that comes back.

const MOST_SECONDS = 110; // of one recording; the service takes 120
const SURPLUS = 1.1; // record a little more than is needed: the service counts speech more strictly

function prepare() {
  const root = document.getElementById("try");
  const form = root.querySelector(".va-send");
  if (form === null) return;
  const recorder = root.querySelector(".va-recorder");
  recorder.hidden = root.querySelector(".va-telephone").hidden = false;
  const button = recorder.querySelector(".va-record");
  const hint = recorder.querySelector(".va-hint");
  if (navigator.mediaDevices === undefined) {
    button.disabled = true;
    hint.textContent = "The browser offers the microphone only to pages from HTTPS or from localhost. Upload a recording instead.";
  }
  button.onclick = () => record(recorder, (blob) => send(form, blob, hint));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, form.elements.audio.files[0], hint);
  });
}

async function record(recorder, done) {
  const button = recorder.querySelector(".va-record");
  const hint = recorder.querySelector(".va-hint");
  button.disabled = true;
  document.querySelectorAll("#try .va-answer").forEach((former) => former.remove());
  let stream;
  try {
    // What browsers do for conferences would change the voice; only the gain is left to them.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    button.disabled = false;
    hint.textContent = `The microphone cannot be used (${error.name}). Allow it in the browser, or upload a recording instead.`;
    return;
  }
  const listener = new Listener(stream);
  const media = new MediaRecorder(stream);
  const chunks = [];
  media.addEventListener("dataavailable", (event) => chunks.push(event.data));
  media.addEventListener("stop", () => {
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
    listener.close();
    done(new Blob(chunks, { type: media.mimeType }));
  });
  const wanted = Number(recorder.dataset.seconds) * SURPLUS + 0.5;
  const timer = setInterval(() => {
    listener.measure();
    show(recorder, listener, wanted);
    if ((listener.speech >= wanted || listener.elapsed >= MOST_SECONDS) && media.state === "recording") media.stop();
  }, STEP_MS);
  media.start();
  button.textContent = "Stop";
  button.disabled = false;
  button.onclick = () => media.state === "recording" && media.stop();
  recorder.querySelector(".va-live").hidden = false;
}

function show(recorder, listener, wanted) {
  const spoken = Math.min(listener.speech, wanted);
  recorder.querySelector("#level").value = listener.level;
  recorder.querySelector("#spoken").max = wanted;
  recorder.querySelector("#spoken").value = spoken;
  recorder.querySelector(".va-spoken").textContent = spoken.toFixed(1);
  recorder.querySelector(".va-left").textContent = (wanted - spoken).toFixed(1);
  const words = listener.hint();
  const hint = recorder.querySelector(".va-hint");
  if (hint.textContent !== words) hint.textContent = words; // a screen reader reads every change
}

async function send(form, blob, hint) {
  for (const each of document.querySelectorAll("#try button, #try input")) each.disabled = true;
  hint.textContent = "Listening to the recording…";
  const data = new FormData();
  data.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
  try {
    data.set("audio", form.elements.telephone.checked ? await asTelephone(blob) : blob, "recording");
    const response = await fetch(form.action, { method: "POST", body: data });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.getElementById("try");
    if (next === null) return location.reload(); // signed out, for example
    const telephone = form.elements.telephone.checked;
    document.getElementById("try").replaceWith(next);
    prepare();
    const box = next.querySelector("[name=telephone]");
    if (box !== null) box.checked = telephone;
    next.scrollIntoView({ block: "start" });
  } catch (error) {
    for (const each of document.querySelectorAll("#try button, #try input")) each.disabled = false;
    hint.textContent = `The recording could not be sent (${error.message}). Try again.`;
  }
}

prepare();
