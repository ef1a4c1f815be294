// A launch in a frame: the page around it, if it is ours, has the key that proves it. Without one the form goes as it is.
{
  const form = document.forms[0];
  const WAIT = 3000;
  addEventListener("message", ({ source, origin, data }) => {
    if (source !== parent || origin !== location.origin || typeof data?.key !== "string") return;
    form.elements.flowbridge_key.value = data.key;
    form.submit();
  });
  if (parent === window) form.submit();
  else parent.postMessage({ subject: "flowbridge.claim" }, location.origin);
  setTimeout(() => form.submit(), WAIT);
}
