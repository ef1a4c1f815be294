// Opens a tool's registration in a window beside this page, and goes on when the tool says that it is done. A tool that
// can't say it (its page may cut the tie to this one) is noticed by the part of the page that follows the registration.
const link = document.querySelector("[data-connect]");
let tool;

link.addEventListener("click", (event) => {
  tool = window.open(link.href, "registration", "popup,width=800,height=720");
  if (tool) event.preventDefault();
});

addEventListener("message", ({ origin, source, data }) => {
  if (origin !== link.dataset.connect || source !== tool || data?.subject !== "org.imsglobal.lti.close") return;
  tool.close();
  location.assign(document.querySelector("[data-done]").href);
});
