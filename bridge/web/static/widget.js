/*
 * The flowbridge widget: help for the record that a person works on, inside any web application.
 *
 *   <script src="https://bridge.example.com/widget.js" defer
 *           data-connection="desk"                    the application's connection in flowbridge
 *           data-assertion="eyJ..."                   its server's word for who this is (HS256 JWT), or
 *           data-assertion-url="/bridge-assertion"    where that server gives a fresh one: {"assertion": "eyJ..."}
 *           data-record="opportunity/42"></script>    the record that is open; may change while the page lives
 *
 * It lives in a shadow tree, uses no cookies, asks nothing while the page is hidden, and stays silent when flowbridge
 * can't be reached. Texts of prompts are only ever set as text; the HTML of inline help is sanitised by the server.
 */
(() => {
  "use strict";

  const script = document.currentScript;
  if (!script || document.querySelector("flowbridge-help")) return;

  const BASE = new URL(".", script.src).href;
  const CONNECTION = script.dataset.connection ?? "";
  const WAIT_SECONDS = 25;
  const LONGEST_PAUSE = 60_000;
  /** The one-time code of a new tab is good for ten minutes; an older one is replaced before it is used. */
  const DOOR_LIFE = 8 * 60_000;
  /** A tool that has shown nothing for so long may never do so in a frame. */
  const PATIENCE = 10_000;
  /** A phone: one card at a time, and help takes the whole screen. */
  const small = matchMedia("(max-width: 640px)");

  // ---- the bridge ---------------------------------------------------------------------------------------------

  class Refusal extends Error {
    constructor(status, message, retryAfter = 0) {
      super(message);
      this.status = status;
      this.retryAfter = retryAfter;
    }
  }

  /** Asking again would not help: nobody is signed in, or this page may not embed the widget. */
  class Hopeless extends Error {}

  let token = "";
  let givenAssertion = script.dataset.assertion ?? "";
  let signingIn = null;

  async function request(method, path, { body, signal, seconds = 15 } = {}) {
    const signals = [AbortSignal.timeout(seconds * 1000), ...(signal ? [signal] : [])];
    const answer = await fetch(`${BASE}api/v1/widget/${path}`, {
      method,
      headers: {
        ...(token && { Authorization: `Bearer ${token}` }),
        ...(body && { "Content-Type": "application/json" }),
      },
      body: body && JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.any(signals),
    });
    if (answer.ok) return answer.status === 204 ? null : answer.json();
    const told = await answer.json().catch(() => null);
    const message = told?.error?.message ?? `The help service answered ${answer.status}.`;
    throw new Refusal(answer.status, message, Number(answer.headers.get("Retry-After")) || 0);
  }

  async function call(method, path, options) {
    if (!token) await signIn();
    try {
      return await request(method, path, options);
    } catch (error) {
      if (error.status !== 401) throw error;
    }
    token = "";
    await signIn();
    return request(method, path, options);
  }

  function signIn() {
    signingIn ??= exchange().finally(() => (signingIn = null));
    return signingIn;
  }

  async function exchange() {
    const assertions = [];
    if (givenAssertion) assertions.push(async () => givenAssertion);
    if (script.dataset.assertionUrl) assertions.push(freshAssertion);
    for (const assertion of assertions) {
      try {
        const body = { connection: CONNECTION, assertion: await assertion() };
        token = (await request("POST", "session", { body })).token;
        return;
      } catch (error) {
        if (error.status === 401) givenAssertion = "";
        else if ([400, 403, 404, 422].includes(error.status)) throw new Hopeless(error.message);
        else throw error;
      }
    }
    throw new Hopeless("the page has no valid assertion of who is signed in");
  }

  async function freshAssertion() {
    const url = new URL(script.dataset.assertionUrl, document.baseURI);
    const answer = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if ([401, 403, 404].includes(answer.status)) throw new Hopeless(`${url.pathname} answered ${answer.status}`);
    if (!answer.ok) throw new Refusal(0, `${url.pathname} answered ${answer.status}`);
    return (await answer.json()).assertion;
  }

  // ---- waiting for prompts ------------------------------------------------------------------------------------

  /** Some time, or less when the page is looked at again or the network is back. */
  function pause(milliseconds) {
    return new Promise((resolve) => {
      const ended = new AbortController();
      const end = () => (ended.abort(), clearTimeout(timer), resolve());
      const timer = setTimeout(end, milliseconds);
      addEventListener("online", end, { signal: ended.signal });
      document.addEventListener("visibilitychange", () => document.hidden || end(), { signal: ended.signal });
    });
  }

  function whenVisible() {
    if (!document.hidden) return null;
    return new Promise((resolve) => {
      const look = () => {
        if (document.hidden) return;
        document.removeEventListener("visibilitychange", look);
        resolve();
      };
      document.addEventListener("visibilitychange", look);
    });
  }

  async function listen() {
    let cursor = "";
    let failures = 0;
    let poll = new AbortController();
    document.addEventListener("visibilitychange", () => document.hidden && poll.abort());
    for (;;) {
      await whenVisible();
      poll = new AbortController();
      try {
        const path = `prompts?after=${encodeURIComponent(cursor)}&wait=${WAIT_SECONDS}`;
        const news = await call("GET", path, { signal: poll.signal, seconds: WAIT_SECONDS + 10 });
        failures = 0;
        const isNew = news.cursor !== cursor;
        if (isNew) view.show(news.prompts);
        cursor = news.cursor;
        await pause(isNew ? 100 : 300 * Math.random());
      } catch (error) {
        if (poll.signal.aborted) continue;
        if (error instanceof Hopeless) return console.info(`flowbridge: no help on this page: ${error.message}`);
        failures += 1;
        const backOff = Math.min(LONGEST_PAUSE, 1000 * 2 ** Math.min(failures, 6));
        await pause(Math.max((error.retryAfter ?? 0) * 1000, backOff * (0.5 + Math.random() / 2)));
      }
    }
  }

  // ---- small tools of the view --------------------------------------------------------------------------------

  function el(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name in node && name !== "role") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  const ICONS = {
    guide: "M4 4.5h4.2A1.8 1.8 0 0 1 10 6.3v10a1.5 1.5 0 0 0-1.5-1.3H4zM16 4.5h-4.2A1.8 1.8 0 0 0 10 6.3v10a1.5 1.5 0 0 1 1.5-1.3H16z",
    checklist: "m3.5 5.5 1.3 1.3L7.2 4.4M3.5 13.5l1.3 1.3 2.4-2.4M10 6h6.5M10 14h6.5",
    sop: "M4.5 4v3M4 16h1.6M4 13.2c.9-.8 1.7-.2 1.3.7L4 16M9.5 5.5h7M9.5 10h7M9.5 14.5h7",
    "decision-tree": "M10 3.5v4M10 7.5 5 12v4M10 7.5l5 4.5v4",
    quiz: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM8 8.3a2 2 0 1 1 2.9 1.7c-.6.3-.9.7-.9 1.4M10 13.7v.1",
    video: "M7 5.2v9.6l8-4.8z",
    link: "M8 5H5v10h10v-3M11 4.5h4.5V9M15.2 4.8 9 11",
    done: "m4.5 10.5 3.6 3.6 7.4-7.8",
    close: "m5 5 10 10M15 5 5 15",
    down: "m5 8 5 5 5-5",
    back: "M12 5 7 10l5 5",
    help: "M3.5 12.5c2.2 0 2.2-5 6.5-5s4.3 5 6.5 5M6 12.6v2.4M14 12.6v2.4M10 7.6V15",
  };

  function icon(name) {
    const namespace = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(namespace, "svg");
    const path = document.createElementNS(namespace, "path");
    svg.setAttribute("viewBox", "0 0 20 20");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name] ?? ICONS.guide);
    svg.append(path);
    return svg;
  }

  const KINDS = {
    course: "Course", module: "Module", video: "Video", guide: "Guide", checklist: "Checklist", sop: "Step by step",
    "decision-tree": "Decision guide", quiz: "Quiz", link: "Link",
  };

  function about(kind, seconds) {
    const long = !seconds ? "" : seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
    return [KINDS[kind] ?? "Help", long].filter(Boolean).join(" · ");
  }

  /** What this tab remembers from page to page; a page whose storage is closed forgets. */
  const memory = {
    get(key) {
      try {
        return JSON.parse(sessionStorage.getItem(`flowbridge.${key}`)) ?? [];
      } catch {
        return [];
      }
    },
    set(key, value) {
      try {
        sessionStorage.setItem(`flowbridge.${key}`, JSON.stringify(value));
      } catch {
        // private windows of some browsers have no storage
      }
    },
  };

  const host = el("flowbridge-help");
  const root = host.attachShadow({ mode: "open" });
  const live = el("p", { className: "unseen", role: "status" });

  function say(text) {
    live.textContent = "";
    setTimeout(() => (live.textContent = text), 50);
  }

  // ---- one prompt ---------------------------------------------------------------------------------------------

  class Card {
    constructor(prompt) {
      this.door = null;
      this.doorAt = 0;
      this.wasShown = false;
      this.meta = el("span");
      this.text = el("p", { className: "say" });
      this.title = el("p", { className: "title" });
      this.note = el("p", { className: "note", role: "status" });
      this.open = el("button", { type: "button", className: "primary", onclick: () => this.onOpen() });
      this.away = el("button", { type: "button", className: "plain", onclick: () => this.onAway() });
      this.kind = el("p", { className: "kind" });
      this.node = el(
        "li",
        { className: "card" },
        this.kind, this.text, this.title, this.note, el("div", { className: "buttons" }, this.open, this.away),
      );
      for (const event of ["pointerenter", "focusin"]) this.node.addEventListener(event, () => this.prepare());
      this.update(prompt);
    }

    get done() {
      return this.prompt.state === "done";
    }

    get elsewhere() {
      return this.prompt.how !== "inline";
    }

    /** Does it open in a new tab? Else in the panel, or in a frame over the page. */
    get inTab() {
      return this.elsewhere && !this.prompt.in_frame;
    }

    update(prompt) {
      this.prompt = prompt;
      const { done } = this;
      this.node.classList.toggle("done", done);
      this.kind.replaceChildren(icon(done ? "done" : prompt.asset_kind), this.meta);
      this.meta.textContent = done ? "Completed" : about(prompt.asset_kind, prompt.duration_seconds);
      this.text.textContent = prompt.say;
      this.title.textContent = prompt.title;
      this.open.replaceChildren(done ? "Open again" : "Open", ...(this.inTab ? [icon("link")] : []));
      this.open.setAttribute("aria-label", `${done ? "Open again" : "Open"}: ${prompt.title}${this.inTab ? " (new tab)" : ""}`);
      this.away.textContent = done ? "Clear" : "Not now";
      this.away.setAttribute("aria-label", `${done ? "Clear" : "Not now"}: ${prompt.title}`);
      if (done) this.tell("");
    }

    tell(text) {
      this.note.textContent = text;
    }

    /** Get what a new tab needs before the click: browsers let a page open a tab only at once. */
    async prepare() {
      if (!this.elsewhere || Date.now() - this.doorAt < DOOR_LIFE) return;
      this.doorAt = Date.now();
      try {
        this.door = await call("POST", `prompts/${this.prompt.id}/open`);
      } catch {
        this.doorAt = 0; // the click tries again, and says what is wrong
      }
    }

    async onOpen({ inTab = this.inTab } = {}) {
      this.tell("");
      const isFresh = this.door && Date.now() - this.doorAt < DOOR_LIFE;
      if (this.elsewhere && isFresh) return this.leave(inTab);
      this.open.setAttribute("aria-busy", "true");
      try {
        const opened = await call("POST", `prompts/${this.prompt.id}/open`);
        if (opened.how === "inline") return panel.open(opened, this);
        this.door = opened;
        this.leave(inTab);
      } catch (error) {
        this.tell(inWords(error));
        stage.tell(inWords(error));
      } finally {
        this.open.removeAttribute("aria-busy");
      }
    }

    leave(inTab) {
      if (inTab) {
        this.send({ target: "_blank", rel: "noopener" });
        this.tell("Opened in a new tab.");
        stage.close();
      } else stage.open(this);
    }

    /** Post the form that begins the launch; the code in it works once. */
    send(form, more = {}) {
      const fields = Object.entries({ handoff: this.door.handoff, ...more });
      const inputs = fields.map(([name, value]) => el("input", { type: "hidden", name, value }));
      const node = el("form", { method: "post", action: this.door.action, hidden: true, ...form }, ...inputs);
      root.append(node);
      node.submit();
      node.remove();
      this.door = null;
      this.doorAt = 0;
    }

    async onAway() {
      try {
        await call("POST", `prompts/${this.prompt.id}/dismiss`);
        view.remove(this);
      } catch (error) {
        this.tell(inWords(error));
      }
    }
  }

  function inWords(error) {
    if (error instanceof Refusal && error.status) return error.message;
    return "That did not work: the help service can't be reached. Try again in a moment.";
  }

  // ---- the cards together -------------------------------------------------------------------------------------

  const view = {
    cards: new Map(),
    arrived: new Set(),
    isFirst: true,
    isAsked: false,
    all: false,

    show(prompts) {
      const seen = new Set(memory.get("seen"));
      const fresh = prompts.filter((prompt) => prompt.state === "open" && !seen.has(prompt.id));
      for (const id of [...this.cards.keys()]) if (!prompts.some((prompt) => prompt.id === id)) this.cards.delete(id);
      for (const prompt of prompts) {
        const card = this.cards.get(prompt.id);
        if (card && !card.done && prompt.state === "done") say(`Completed: ${prompt.title}`);
        if (card) card.update(prompt);
        else this.cards.set(prompt.id, new Card(prompt));
        if (!card && !this.isFirst) this.arrived.add(prompt.id);
      }
      this.isFirst = false;
      const now = fresh.filter((prompt) => this.isHere(prompt) || this.arrived.has(prompt.id));
      if (now.length) memory.set("minimised", false);
      this.draw();
      if (now.length) say(`Help for you: ${now.map((prompt) => `${prompt.say} ${about(prompt.asset_kind, prompt.duration_seconds)}`).join(". ")}`);
    },

    remove(card) {
      const hadFocus = card.node.contains(root.activeElement);
      this.cards.delete(card.prompt.id);
      this.draw();
      if (hadFocus && this.cards.size) (stack.hidden ? pill : stack).focus();
    },

    isHere(prompt) {
      return prompt.connection === CONNECTION && prompt.subject !== "" && prompt.subject === (script.dataset.record ?? "");
    },

    draw() {
      const rank = (card) => (card.done ? 2 : 0) + (this.isHere(card.prompt) || this.arrived.has(card.prompt.id) ? 0 : 1);
      const cards = [...this.cards.values()]
        .filter((card) => !card.done || this.isHere(card.prompt) || this.arrived.has(card.prompt.id) || card.wasShown)
        .sort((a, b) => rank(a) - rank(b) || b.prompt.created_at.localeCompare(a.prompt.created_at));
      const near = cards.filter((card) => this.isHere(card.prompt) || this.arrived.has(card.prompt.id));
      const first = Math.min(small.matches ? 1 : 2, near.length || cards.length);
      const shown = this.all ? cards : cards.slice(0, first);
      const open = cards.filter((card) => !card.done).length;

      // What was not asked for opens by itself only where it belongs: on its record, or at the moment it comes.
      const isSmall = memory.get("minimised") === true || !(this.isAsked || near.length);
      const isBusy = panel.isOpen || stage.isOpen;
      stack.hidden = isSmall || !cards.length || isBusy;
      pill.hidden = !isSmall || !open || isBusy;
      count.textContent = String(open);
      pill.setAttribute("aria-label", `Help for you: ${open}`);
      more.hidden = shown.length === cards.length;
      more.textContent = `Show ${cards.length - shown.length} more`;
      if (list.children.length !== shown.length || shown.some((card, at) => list.children[at] !== card.node)) {
        list.replaceChildren(...shown.map((card) => card.node));
      }
      if (!stack.hidden) shown.forEach((card) => this.noteShown(card));
    },

    /** What a card opened is closed: the keyboard is where it was before. */
    giveBack(card) {
      this.draw();
      const target = stack.hidden ? pill : card.node.isConnected ? card.open : stack;
      target.focus();
    },

    noteShown(card) {
      if (card.wasShown) return;
      card.wasShown = true;
      card.prepare();
      const { id } = card.prompt;
      if (memory.get("seen").includes(id)) return;
      const remember = () => memory.set("seen", [...memory.get("seen"), id].slice(-200));
      call("POST", `prompts/${id}/shown`).then(remember, () => {}); // if it fails, the next page says it again
    },

    minimise(isSmall) {
      memory.set("minimised", isSmall);
      this.isAsked = !isSmall;
      this.draw();
      (isSmall ? pill : stack).focus();
    },
  };

  const list = el("ul", { className: "cards" });
  const more = el("button", { type: "button", className: "more", onclick: () => ((view.all = true), view.draw(), stack.focus()) });
  const smaller = el("button", { type: "button", className: "quiet", ariaLabel: "Minimise", onclick: () => view.minimise(true) }, icon("down"));
  const stack = el(
    "section",
    { className: "stack", role: "region", ariaLabel: "Help for you", tabIndex: -1, hidden: true },
    el("header", { className: "bar" }, icon("help"), el("h2", {}, "Help for you"), smaller),
    list,
    more,
  );
  const count = el("span", { className: "count" });
  const pill = el("button", { type: "button", className: "pill", hidden: true, onclick: () => view.minimise(false) }, icon("help"), "Help", count);

  // ---- inline help --------------------------------------------------------------------------------------------

  const panel = {
    isOpen: false,
    card: null,
    launch: null,
    saving: Promise.resolve(),

    open(opened, card) {
      Object.assign(this, { card, launch: opened, isOpen: true, saving: Promise.resolve() });
      kindLine.replaceChildren(icon(opened.kind), about(opened.kind, card.prompt.duration_seconds));
      heading.textContent = opened.title;
      content.innerHTML = opened.html;
      problem.textContent = "";
      const article = content.querySelector("article");
      if (article?.lang) content.lang = article.lang;
      if (opened.kind === "decision-tree") this.walk();
      for (const step of opened.steps) {
        const box = content.querySelector(`input[data-step="${CSS.escape(step.id)}"]`);
        if (box) box.checked = step.done;
      }
      this.progress();
      if (small.matches) dialog.showModal();
      else dialog.show();
      content.scrollTop = 0;
      heading.focus();
      view.draw();
    },

    close() {
      if (!this.isOpen) return;
      this.isOpen = false;
      dialog.close();
      content.replaceChildren();
      view.giveBack(this.card);
    },

    progress() {
      const { steps, completed, kind } = this.launch;
      const isList = kind === "checklist" && steps.length > 0;
      const done = steps.filter((step) => step.done).length;
      meter.hidden = !isList;
      meter.max = steps.length || 1;
      meter.value = done;
      tally.classList.toggle("good", completed);
      tally.replaceChildren(...(completed ? [icon("done"), "Completed"] : isList ? [`${done} of ${steps.length} done`] : []));
      finish.textContent = completed ? "Close" : kind === "guide" ? "I have read this" : "Done";
      finish.setAttribute("aria-disabled", String(isList && !completed && done < steps.length));
    },

    /** One node of a decision tree at a time; an answer leads on, "Back" leads back. */
    walk(way = [content.querySelector("section")]) {
      const here = way.at(-1);
      for (const section of content.querySelectorAll("section")) section.hidden = section !== here;
      content.querySelector(".back")?.remove();
      if (way.length > 1) {
        const back = el("button", { type: "button", className: "plain back", onclick: () => this.walk(way.slice(0, -1)) }, icon("back"), "Back");
        content.querySelector("article").append(back);
        here.focus();
      }
      this.way = way;
    },

    /** Ticks are saved one after the other; the boxes stay as the person set them, except for what was not saved. */
    tick(box) {
      const { launch } = this;
      const path = `launches/${launch.launch_id}/steps/${encodeURIComponent(box.dataset.step)}`;
      const done = box.checked;
      this.saving = this.saving.then(async () => {
        try {
          this.launch = { ...launch, ...(await call("POST", path, { body: { done } })), html: "" };
          problem.textContent = "";
        } catch (error) {
          box.checked = !done;
          problem.textContent = `Not saved. ${inWords(error)}`;
        }
        this.progress();
      });
    },

    async finish() {
      if (this.launch.completed) return this.close();
      await this.saving;
      if (finish.getAttribute("aria-disabled") === "true") {
        problem.textContent = "Tick every step first; then it is done.";
        return;
      }
      try {
        this.launch = { ...(await call("POST", `launches/${this.launch.launch_id}/finish`)), html: "" };
        problem.textContent = "";
        this.card.update({ ...this.card.prompt, state: "done" });
        this.progress();
        say(`Completed: ${this.launch.title}`);
      } catch (error) {
        problem.textContent = inWords(error);
      }
    },

    follow(event) {
      const link = event.target.closest?.('a[href^="#"]');
      if (!link) return;
      event.preventDefault(); // a fragment would move the page around us
      const target = content.querySelector(`#${CSS.escape(link.getAttribute("href").slice(1))}`);
      if (target?.matches("section")) this.walk([...this.way, target]);
    },
  };

  const kindLine = el("p", { className: "kind" });
  const heading = el("h2", { id: "panel-title", tabIndex: -1 });
  const content = el("div", {
    className: "content",
    tabIndex: 0,
    role: "group",
    onclick: (event) => panel.follow(event),
    onchange: (event) => event.target.dataset.step && panel.tick(event.target),
  });
  content.setAttribute("aria-labelledby", "panel-title");
  const meter = el("progress", { ariaLabel: "Progress" });
  const tally = el("p", { className: "tally" });
  const problem = el("p", { className: "problem", role: "alert" });
  const finish = el("button", { type: "button", className: "primary", onclick: () => panel.finish() });
  const dialog = el(
    "dialog",
    {
      className: "panel",
      oncancel: (event) => (event.preventDefault(), panel.close()),
      onkeydown: (event) => event.key === "Escape" && (event.preventDefault(), panel.close()),
    },
    el(
      "header",
      {},
      el("div", {}, kindLine, heading),
      el("button", { type: "button", className: "quiet", ariaLabel: "Close", onclick: () => panel.close() }, icon("close")),
    ),
    content,
    el("footer", {}, el("div", { className: "state" }, meter, tally, problem), finish),
  );
  dialog.setAttribute("aria-labelledby", "panel-title");

  // ---- a tool's content, in a frame over the page -------------------------------------------------------------

  const stage = {
    isOpen: false,
    card: null,
    frame: null,
    patience: 0,

    open(card) {
      Object.assign(this, { card, isOpen: true });
      const { asset_kind: kind, duration_seconds: seconds, title } = card.prompt;
      stageKind.replaceChildren(icon(kind), about(kind, seconds));
      stageHeading.textContent = title;
      this.tell("Opening…");
      this.frame = el("iframe", { name: `flowbridge-${Date.now()}`, title, allow: "autoplay *; encrypted-media *; fullscreen *; picture-in-picture *" });
      room.replaceChildren(this.frame);
      theatre.showModal();
      stageHeading.focus();
      card.send({ target: this.frame.name }, { frame: "1" });
      card.prepare();
      this.patience = setTimeout(() => this.tell("This takes long, and perhaps it does not work in here."), PATIENCE);
      view.draw();
    },

    tell(text) {
      stageNote.textContent = text;
    },

    hear({ source, origin, data }) {
      if (!this.isOpen || source !== this.frame.contentWindow || origin !== new URL(BASE).origin) return;
      if (data?.subject === "flowbridge.close") this.close();
      if (data?.subject !== "flowbridge.shown") return;
      clearTimeout(this.patience);
      this.tell("");
    },

    close() {
      if (!this.isOpen) return;
      this.isOpen = false;
      clearTimeout(this.patience);
      theatre.close();
      room.replaceChildren();
      view.giveBack(this.card);
    },
  };

  const stageKind = el("p", { className: "kind" });
  const stageHeading = el("h2", { id: "stage-title", tabIndex: -1 });
  const stageNote = el("p", { className: "note", role: "status" });
  const room = el("div", { className: "room" });
  const theatre = el(
    "dialog",
    { className: "panel stage", oncancel: (event) => (event.preventDefault(), stage.close()) },
    el(
      "header",
      {},
      el("div", {}, stageKind, stageHeading),
      el("button", { type: "button", className: "quiet", ariaLabel: "Close", onclick: () => stage.close() }, icon("close")),
    ),
    room,
    el(
      "footer",
      {},
      el("div", { className: "state" }, stageNote),
      el("button", { type: "button", className: "plain", onclick: () => stage.card.onOpen({ inTab: true }) }, "Open in a new tab instead", icon("link")),
    ),
  );
  theatre.setAttribute("aria-labelledby", "stage-title");
  addEventListener("message", (event) => stage.hear(event));

  // ---- its look -----------------------------------------------------------------------------------------------

  const sheet = new CSSStyleSheet(); // not an inline style: a page's content security policy lets it pass
  sheet.replaceSync(`
    :host {
      all: initial !important; display: block !important; color-scheme: inherit !important;
      --accent: light-dark(#4f46e5, #6d66f0); --accent-strong: light-dark(#4338ca, #5b53e6); --accent-text: light-dark(#4338ca, #b4b8ff);
      --tint: light-dark(#eef2ff, #24263f); --ink: light-dark(#0f172a, #e8ecf4); --muted: light-dark(#586579, #a3aec0);
      --line: light-dark(#e2e8f0, #323c4f); --surface: light-dark(#ffffff, #1a2130); --ground: light-dark(#f8fafc, #141a27);
      --good: light-dark(#047857, #6ee7b7); --good-tint: light-dark(#ecfdf5, #0d3226); --bad: light-dark(#b91c1c, #fca5a5);
      --ring: 0 0 0 3px light-dark(rgb(79 70 229 / .35), rgb(165 170 255 / .55));
      font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif !important;
    }
    * { box-sizing: border-box; }
    [hidden] { display: none !important; }
    .unseen { position: fixed; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    h2, p, ul { margin: 0; padding: 0; }
    button { font: inherit; color: inherit; cursor: pointer; }
    svg { width: 20px; height: 20px; flex: none; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
    :focus { outline: none; }
    :focus-visible { box-shadow: var(--ring); }
    .stack:focus-visible, .panel h2:focus-visible { box-shadow: none; }
    .stack, .panel, .pill { color: var(--ink); background: var(--surface); border: 1px solid var(--line); box-shadow: 0 2px 6px rgb(15 23 42 / .06), 0 16px 40px rgb(15 23 42 / .16); z-index: 2147483000; }

    .stack { position: fixed; right: 20px; bottom: 20px; width: 376px; max-width: calc(100vw - 40px); max-height: min(72vh, 600px); overflow-y: auto; overscroll-behavior: contain; border-radius: 14px; }
    .bar { position: sticky; top: 0; display: flex; align-items: center; gap: 8px; padding: 4px 6px 4px 16px; background: var(--surface); color: var(--accent-text); border-bottom: 1px solid var(--line); }
    .bar h2 { flex: 1; font-size: 14px; font-weight: 600; color: var(--ink); }
    .quiet { display: grid; place-items: center; flex: none; width: 44px; height: 44px; padding: 0; border: 0; border-radius: 8px; background: none; color: var(--muted); }
    .quiet:hover { background: var(--ground); color: var(--ink); }
    .cards { list-style: none; }
    .card { padding: 16px; display: grid; gap: 6px; }
    .card + .card { border-top: 1px solid var(--line); }
    .kind { display: flex; align-items: center; gap: 6px; font-size: 13px; font-weight: 550; color: var(--accent-text); }
    .kind svg { width: 18px; height: 18px; }
    .say { font-size: 16px; line-height: 1.45; overflow-wrap: anywhere; }
    .title { font-size: 14px; color: var(--muted); overflow-wrap: anywhere; }
    .note:empty, .problem:empty { display: none; }
    .note { font-size: 14px; color: var(--muted); }
    .buttons { display: flex; gap: 8px; margin-top: 8px; }
    .primary, .plain { display: inline-flex; align-items: center; justify-content: center; gap: 6px; min-height: 44px; padding: 0 18px; border: 1px solid transparent; border-radius: 8px; font-size: 15px; font-weight: 550; }
    .primary { background: var(--accent); color: #fff; }
    .primary:hover { background: var(--accent-strong); }
    .primary svg { width: 16px; height: 16px; }
    .primary[aria-busy] { opacity: .7; cursor: progress; }
    .primary[aria-disabled="true"] { background: var(--ground); border-color: var(--line); color: var(--muted); cursor: default; }
    .plain { background: none; color: var(--muted); }
    .plain:hover { background: var(--ground); color: var(--ink); }
    .done .kind, .good { color: var(--good); }
    .done .say { display: none; }
    .done .title { color: var(--ink); font-size: 15px; }
    .done .buttons { margin: 0 0 -6px -12px; }
    .done .buttons > * { flex: none; padding: 0 12px; font-size: 14px; }
    .done .primary { background: none; color: var(--accent-text); }
    .done .primary:hover { background: var(--ground); }
    .more { width: 100%; min-height: 44px; border: 0; border-top: 1px solid var(--line); background: none; color: var(--accent-text); font-size: 14px; font-weight: 550; }
    .more:hover { background: var(--ground); }
    .pill { position: fixed; right: 20px; bottom: 20px; display: flex; align-items: center; gap: 8px; min-height: 44px; padding: 0 8px 0 14px; border-radius: 99px; font-size: 15px; font-weight: 550; }
    .pill svg { color: var(--accent-text); }
    .pill:hover { background: var(--ground); }
    .count { min-width: 26px; padding: 1px 8px; border-radius: 99px; background: var(--accent); color: #fff; font-size: 13px; text-align: center; }

    .panel { position: fixed; inset: 16px 16px 16px auto; width: min(640px, calc(100vw - 32px)); height: auto; max-height: none; max-width: none; margin: 0; padding: 0; border-radius: 14px; overflow: hidden; }
    .panel[open] { display: grid; grid-template-rows: auto minmax(0, 1fr) auto; }
    .panel::backdrop { background: rgb(15 23 42 / .4); }
    .panel > header { display: flex; align-items: flex-start; gap: 12px; padding: 18px 12px 16px 28px; border-bottom: 1px solid var(--line); }
    .panel > header div { flex: 1; min-width: 0; }
    .panel > header h2 { margin-top: 2px; font-size: 21px; line-height: 1.3; letter-spacing: -.01em; overflow-wrap: anywhere; }
    .panel > footer { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 8px 16px; padding: 14px 28px; border-top: 1px solid var(--line); background: var(--ground); }
    .stage[open] { inset: 24px; width: auto; max-width: 1200px; height: calc(100% - 48px); margin: 0 auto; }
    .stage > footer { padding-block: 4px; }
    .stage .state:has(.note:empty) { display: none; }
    .stage .plain { margin-left: auto; padding: 0 12px; color: var(--accent-text); font-size: 14px; }
    .stage .plain svg { width: 16px; height: 16px; }
    .room { background: #fff; }
    .room iframe { display: block; width: 100%; height: 100%; border: 0; }
    .state { flex: 1; min-width: 140px; }
    .tally { display: flex; align-items: center; gap: 6px; font-size: 14px; color: var(--muted); font-variant-numeric: tabular-nums; }
    .tally.good { color: var(--good); font-weight: 550; }
    .problem { font-size: 14px; color: var(--bad); }
    progress { display: block; width: 100%; max-width: 260px; height: 6px; margin-bottom: 4px; border: 0; border-radius: 99px; overflow: hidden; appearance: none; background: var(--line); }
    progress::-webkit-progress-bar { background: var(--line); }
    progress::-webkit-progress-value { background: var(--accent); border-radius: 99px; transition: inline-size .2s; }
    progress::-moz-progress-bar { background: var(--accent); }

    .content { padding: 20px 28px 28px; overflow-y: auto; overscroll-behavior: contain; font-size: 16px; line-height: 1.6; overflow-wrap: break-word; }
    .content:focus-visible { box-shadow: inset var(--ring); }
    .content article > h1:first-child { display: none; }
    .content :is(h1, h2, h3, h4) { margin: 24px 0 6px; font-size: 17px; line-height: 1.35; letter-spacing: -.005em; }
    .content h3 { font-size: 16px; }
    .content :is(p, ul, ol, blockquote, table, pre) { margin: 0 0 12px; padding: 0; }
    .content :is(ul, ol) { padding-left: 24px; }
    .content li { margin: 6px 0; }
    .content li > p { margin-bottom: 6px; }
    .content a { color: var(--accent-text); text-underline-offset: 3px; border-radius: 4px; }
    .content blockquote { padding: 10px 16px; border-left: 3px solid var(--accent); border-radius: 0 8px 8px 0; background: var(--tint); }
    .content blockquote p:last-child { margin: 0; }
    .content code, .content pre { font: 14px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono", monospace; }
    .content pre { padding: 12px 14px; border: 1px solid var(--line); border-radius: 8px; background: var(--ground); white-space: pre-wrap; }
    .content hr { border: 0; border-top: 1px solid var(--line); margin: 20px 0; }
    .content table { display: block; overflow-x: auto; border-collapse: collapse; font-size: 15px; }
    .content :is(th, td) { padding: 8px 20px 8px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
    .content th { font-size: 13px; color: var(--muted); font-weight: 550; }
    .content th:empty { padding: 0; border: 0; }
    .content thead:has(th:empty) + tbody td:first-child { color: var(--muted); }
    .content .support-missing { color: var(--muted); border-bottom: 1px dashed var(--muted); }
    .content .support-checklist ul:has(> .support-step) { list-style: none; padding: 0; }
    .content .support-checklist .support-step { position: relative; margin: 0; padding: 12px 0 12px 38px; border-bottom: 1px solid var(--line); }
    .content .support-step > p { margin-bottom: 4px; }
    .content .support-checklist label { display: inline-block; width: 100%; cursor: pointer; }
    .content input[type="checkbox"]::after { content: ""; position: absolute; inset: -12px; }
    .content input[type="checkbox"] { position: absolute; left: 2px; top: 14px; width: 22px; height: 22px; margin: 0; appearance: none; border: 1.5px solid light-dark(#94a3b8, #64748b); border-radius: 6px; background: var(--surface); cursor: pointer; }
    .content input[type="checkbox"]:checked { border-color: var(--accent); background: var(--accent) url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20' fill='none' stroke='%23fff' stroke-width='2.4' stroke-linecap='round' stroke-linejoin='round'%3E%3Cpath d='m4.5 10.5 3.6 3.6 7.4-7.8'/%3E%3C/svg%3E") center / 18px no-repeat; }
    .content .support-step:has(input:checked) > label, .content .support-step:has(input:checked) > p:first-child { color: var(--muted); }
    .content .support-sop > ol { list-style: none; padding: 0; counter-reset: step; }
    .content .support-sop > ol > li { position: relative; counter-increment: step; margin: 0; padding: 6px 0 10px 42px; }
    .content .support-sop > ol > li::before { content: counter(step); position: absolute; left: 0; top: 5px; width: 28px; height: 28px; display: grid; place-items: center; border-radius: 50%; background: var(--tint); color: var(--accent-text); font-size: 14px; font-weight: 600; }
    .content .support-node:focus-visible { box-shadow: none; }
    .content .support-node a[href^="#"] { display: flex; align-items: center; min-height: 44px; padding: 8px 14px; border: 1px solid var(--line); border-radius: 8px; text-decoration: none; }
    .content .support-node a[href^="#"]:hover { background: var(--tint); }
    .content .support-node ul:has(a[href^="#"]) { list-style: none; padding: 0; }

    @media (max-width: 640px) {
      .stack { inset: auto 0 0 0; width: auto; max-width: none; max-height: 62vh; max-height: 62dvh; border-width: 1px 0 0; border-radius: 16px 16px 0 0; padding-bottom: env(safe-area-inset-bottom); }
      .buttons > * { flex: 1; }
      .pill { right: 12px; bottom: 12px; }
      .panel { inset: 0; width: auto; border: 0; border-radius: 0; }
      .stage[open] { inset: 0; height: auto; }
      .panel > header { padding: 12px 6px 12px 18px; }
      .panel > header h2 { font-size: 19px; }
      .content { padding: 16px 18px 24px; }
      .panel > footer { padding: 12px 18px calc(12px + env(safe-area-inset-bottom)); }
    }
    @media (prefers-reduced-motion: no-preference) {
      .stack, .panel[open] { animation: rise .22s ease-out; }
      .card { animation: appear .22s ease-out; }
      button { transition: background-color .12s, color .12s; }
      @keyframes rise { from { opacity: 0; translate: 0 10px; } }
      @keyframes appear { from { opacity: 0; } }
    }
    @media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
    @media (forced-colors: active) { .content input[type="checkbox"] { appearance: auto; } }
    @media print { .stack, .pill, .panel { display: none !important; } }
  `);

  // ---- start --------------------------------------------------------------------------------------------------

  root.adoptedStyleSheets = [sheet];
  root.append(live, stack, pill, dialog, theatre);
  // What is typed in here must not trigger the shortcuts of the application around.
  for (const event of ["keydown", "keyup", "keypress"]) host.addEventListener(event, (typed) => typed.stopPropagation());
  // Help stands at the end of the page: this brings the keyboard there at once.
  addEventListener("keydown", (typed) => {
    if (!typed.altKey || !typed.shiftKey || typed.code !== "KeyH") return;
    if (panel.isOpen) heading.focus();
    else if (stage.isOpen) stageHeading.focus();
    else if (!stack.hidden) stack.focus();
    else if (!pill.hidden) pill.focus();
  });
  stack.setAttribute("aria-keyshortcuts", "Alt+Shift+H");
  new MutationObserver(() => view.draw()).observe(script, { attributes: true, attributeFilter: ["data-record"] });
  document.body.append(host);
  listen();
})();
