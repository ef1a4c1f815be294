// The LMS's page opened this one and closes it again when it hears of the end; nobody else is told.
const opener = window.opener || window.parent;
const { lms } = document.querySelector("[data-lms]").dataset;
if (opener !== window) opener.postMessage({ subject: "org.imsglobal.lti.close" }, lms);
