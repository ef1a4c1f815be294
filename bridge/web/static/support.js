// A tick is saved at once; what could not be saved is taken back, and said.
const article = document.querySelector("[data-launch]");
const boxes = [...article.querySelectorAll("input[data-step]")];
const done = new Set(article.dataset.done.split(" ").filter(Boolean));
const said = document.querySelector("[data-said]");
const finish = document.querySelector("[data-finish] button");

function show() {
  const ticked = boxes.filter((box) => box.checked).length;
  const count = document.querySelector("[data-count]");
  if (!count) return;
  count.textContent = String(ticked);
  document.querySelector("[data-meter]").style.width = `${(100 * ticked) / boxes.length}%`;
  if (finish) finish.disabled = ticked < boxes.length;
}

async function save(box) {
  const body = new URLSearchParams({ csrf: article.dataset.csrf, done: String(box.checked) });
  try {
    const answer = await fetch(`/launches/${article.dataset.launch}/steps/${box.dataset.step}`, { method: "POST", body });
    if (!answer.ok) throw new Error(String(answer.status));
    if (said) said.textContent = "Saved";
  } catch {
    box.checked = !box.checked;
    if (said) said.textContent = "That could not be saved. Check your connection and tick it again.";
  }
  show();
}

for (const box of boxes) {
  box.disabled = false;
  box.checked = done.has(box.dataset.step);
  box.addEventListener("change", () => { show(); save(box); });
}
show();
