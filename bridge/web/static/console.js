// A walk over a catalogue is followed while it is under way; without this the page shows it when it is loaded again.
const EVERY = 1500;

async function follow(place) {
  while (place.querySelector("[data-under-way]")) {
    await new Promise((done) => setTimeout(done, EVERY));
    if (document.hidden) continue;
    const answer = await fetch(place.dataset.follow).catch(() => null);
    if (answer?.redirected || answer?.status === 403) return;
    if (answer?.ok) place.innerHTML = await answer.text();
    place.setAttribute("aria-busy", String(place.querySelector("[data-under-way]") !== null));
  }
}

document.querySelectorAll("[data-follow]").forEach(follow);

// On a narrow screen the sections are a strip: show the one that we are in.
document.querySelector(".sections [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
