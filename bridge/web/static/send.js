// Opening is a form, so that a GET changes nothing; for the right person the page sends it by itself, once.
const form = document.querySelector("form[data-send]");
if (form && performance.getEntriesByType("navigation")[0]?.type !== "back_forward") form.requestSubmit();
