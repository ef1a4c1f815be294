/*
 * The page around a tool's frame. It starts the launch, has the key that proves it to our own authorisation page, and
 * keeps data for the tool as long as it is open:
 *
 *   LTI Client Side postMessages   https://www.imsglobal.org/spec/lti-cs-pm/v0p1
 *   LTI postMessage Storage        https://www.imsglobal.org/spec/lti-pm-s/v0p1
 *
 * Only the frame's own window is heard, and the tool's registered origins; each has data of its own. An answer goes to
 * the origin that asked, and never to whoever happens to be there.
 */
{
  const { key, origins, page } = document.body.dataset;
  for (const name of ["key", "origins", "page"]) delete document.body.dataset[name];
  const known = new Set(origins.split(" "));
  const frame = document.querySelector("iframe");
  const MOST_KEYS = 50;
  const MOST_CHARACTERS = 4096;
  let isClaimed = false;

  class Refused extends Error {
    constructor(code, message) {
      super(message);
      this.code = code;
    }
  }

  /** By origin of the tool, what it keeps here. */
  const kept = new Map();

  function dataOf(origin, name) {
    if (typeof name !== "string" || !name) throw new Refused("bad_request", "key must be a text");
    if (!kept.has(origin)) kept.set(origin, new Map());
    return kept.get(origin);
  }

  const ANSWERS = {
    "lti.capabilities": () => ({
      supported_messages: Object.keys(ANSWERS).map((subject) => ({ subject, frame: "_parent" })),
    }),

    /** Keep a text; null takes it away. */
    "lti.put_data": (origin, { key: name, value }) => {
      const data = dataOf(origin, name);
      if (value === null) data.delete(name);
      else if (typeof value !== "string") throw new Refused("bad_request", "value must be a text, or null");
      else if (name.length + value.length > MOST_CHARACTERS || (data.size >= MOST_KEYS && !data.has(name)))
        throw new Refused("storage_exhaustion", `at most ${MOST_KEYS} keys, of ${MOST_CHARACTERS} characters with their value`);
      else data.set(name, value);
      return { key: name, value };
    },

    "lti.get_data": (origin, { key: name }) => ({ key: name, value: dataOf(origin, name).get(name) ?? null }),
  };

  function answered(origin, asked) {
    if (!known.has(origin)) throw new Refused("wrong_origin", "this origin is not among the tool's registered addresses");
    const answer = Object.hasOwn(ANSWERS, asked.subject) && ANSWERS[asked.subject];
    if (!answer) throw new Refused("unsupported_subject", "lti.capabilities tells which messages are answered");
    if (typeof asked.message_id !== "string" && asked.subject !== "lti.capabilities")
      throw new Refused("bad_request", "message_id must be a text");
    return answer(origin, asked);
  }

  function reply(origin, asked) {
    const answer = { subject: `${asked.subject}.response`, message_id: asked.message_id };
    try {
      Object.assign(answer, answered(origin, asked));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      answer.error = { code: error.code, message: error.message };
    }
    frame.contentWindow.postMessage(answer, origin);
  }

  /** Tell the widget in the page around. */
  const tell = (subject) => parent.postMessage({ subject }, page);

  addEventListener("message", ({ source, origin, data }) => {
    if (source !== frame.contentWindow || typeof data?.subject !== "string" || origin === "null") return;
    if (origin === location.origin) {
      if (data.subject !== "flowbridge.claim") return;
      isClaimed = true;
      source.postMessage({ key }, origin);
    } else if (["lti.close", "org.imsglobal.lti.close"].includes(data.subject) && known.has(origin)) tell("flowbridge.close");
    else if (data.subject.startsWith("lti.")) reply(origin, data);
  });

  frame.addEventListener("load", () => {
    const own = frame.contentDocument; // null for a page of the tool's
    // Ours send a form and are gone, but for those that have something to say.
    const isLast = own ? own.URL !== "about:blank" && !own.forms.length : isClaimed;
    if (isLast) tell("flowbridge.shown");
  });

  // Not in a page of its own: whose launch it is would be nobody's choice.
  if (parent !== window) document.forms[0].submit();
}
