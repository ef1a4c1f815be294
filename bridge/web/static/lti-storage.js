// For browsers that keep no cookies in a frame: the LMS's own page keeps a note for us (LTI Client Side postMessages).
// With a value it is left there before the login goes on; without one it is asked for, and sent with the launch.
const note = document.querySelector("[data-note]").dataset;
const form = document.querySelector("form[action='/lti/tool/launch']");
const holder = window.parent === window ? window.opener : window.parent;
const id = String(crypto.getRandomValues(new Uint32Array(1))[0]);
const subject = form ? "lti.get_data" : "lti.put_data";
let done = false;

function frame() {
  try {
    return note.target === "_parent" ? holder : holder.frames[note.target];
  } catch {
    return null; // there is no frame of that name
  }
}

function goOn(value) {
  if (done) return;
  done = true;
  if (!form) return location.replace(document.querySelector("[data-next]").href);
  if (value) form.elements.flowbridge_proof.value = value;
  form.submit();
}

window.addEventListener("message", ({ origin, data }) => {
  if (origin !== note.origin || data?.message_id !== id || data.subject !== `${subject}.response`) return;
  goOn(typeof data.value === "string" ? data.value : "");
});
// Said again until it is answered: the page around may not listen yet, and to do it twice changes nothing.
function say() {
  if (done) return;
  frame()?.postMessage(form ? message : { ...message, value: note.value }, note.origin);
  setTimeout(say, 200);
}

const message = { subject, message_id: id, key: note.key };
say();
setTimeout(goOn, frame() ? 3000 : 0, "");
