// The page of `fea review`. It shows one line at a time; every decision goes to the server, which answers when it is on the disk.
// Texts of the file are only ever added as text, never as HTML.

const at = (id) => document.getElementById(id);
const filter = at("filter"), editor = at("editor"), other = at("other"), tip = at("tip");

let units = {};          // FACS number: [name, sign]
let line = null;         // on the page; null where nothing is left to decide about
let key = "";            // of the line, or of the last one that was
let mode = "look";       // "look", "reject" or "edit"
let working = null;      // until the face that was asked for is there: no key counts before
let ahead = null;        // the next picture, already on its way
const drafts = new Map();  // by key: edits that were left with Escape

function make(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...children);
  return node;
}

// A unit's code; what it looks like is told when one points at it.
function unit(number, kind, text = `AU${number}`) {
  const node = make("span", kind, text);
  node.dataset.au = number;
  node.tabIndex = 0;
  return node;
}

function say(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

// --- talking to the server ---

const settings = () => new URLSearchParams([...new FormData(filter)].filter(([, value]) => value));

async function answer(path, query, form) {
  const sent = form && { method: "POST", body: new URLSearchParams(form) };
  const got = await fetch(`${path}?${query}`, sent).catch(() => null);
  if (got === null) {
    say("The server does not answer: start the command again and reload. What was decided is kept.");
    return null;
  }
  const told = await got.json();
  say(told.error ?? "");
  return got.ok ? told : null;
}

// Shows what the server answers to a move or a decision.
function go(path, more, form) {
  const fetched = async () => {
    const told = await answer(path, new URLSearchParams([...settings(), ...Object.entries(more)]), form);
    if (told) await show(told);
  };
  working ??= fetched().finally(() => { working = null; });
  return working;
}

const move = (where) => go("/line", { key, move: where });
const decide = (verdict, reason = "", text = line.analysis.text) =>
  go("/decide", {}, { key, verdict, reason, text });

// --- showing ---

function picture(of) {
  const image = new Image();
  image.alt = "the face";
  image.src = `/face/${of}`;
  const shown = image.decode().then(() => image, async () => {
    const told = await fetch(image.src).then((got) => got.json(), () => ({ error: "the picture cannot be shown" }));
    return make("p", "", told.error);
  });
  return { of, shown };
}

async function show(told) {
  const next = told.line;
  const face = next && (await (ahead?.of === next.key ? ahead : picture(next.key)).shown);
  line = next;
  enter("look");
  tip.hidden = at("similar").hidden = true;
  at("line").hidden = !line;
  at("end").hidden = Boolean(line);
  if (line) {
    key = line.key;
    at("picture").replaceChildren(face);
    showLine(told);
  }
  showProgress(told);
  ahead = told.ahead && picture(told.ahead);
  history.replaceState(null, "", `?${settings()}#${key}`);
}

function showLine() {
  showAnalysis(line.analysis);
  const reason = line.reason ? `: ${line.reason}` : "";
  const words = { accept: "accepted", reject: `rejected${reason}`, skip: "skipped" };
  at("verdict").className = line.verdict ?? "";
  at("verdict").textContent = (words[line.verdict] ?? "") + (line.edited ? ", edited" : "");
  at("question").textContent = line.question;
  showRejected(line.rejected);
  const facts = [["line", line.place], ["id", line.id], ["data set", line.dataset || "unknown"]];
  facts.push(["attempt", line.attempt], ["labels seen", line.revealed]);
  at("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}

// Of a preference pair: what the text, the image or the question is preferred to.
function showRejected(rejected) {
  at("rejected").hidden = !rejected;
  at("rejected-question").textContent = rejected?.question ?? "";
  at("rejected-analysis").replaceChildren(...(rejected?.analysis ? pieces(rejected.analysis) : []));
  const shown = rejected?.image ? [make("img", "")] : [];
  shown.forEach((image) => Object.assign(image, { src: `rejected/${line.key}`, alt: "the rejected image" }));
  at("rejected-picture").replaceChildren(...shown);
}

const pieces = (analysis) => analysis.pieces.map(([text, kind, au]) =>
  au ? unit(au, kind, text) : kind === "plain" ? text : make("span", kind, text));

function showAnalysis(analysis) {
  at("analysis").replaceChildren(...pieces(analysis));
  const missed = analysis.missed.map((number) => unit(number, "missed"));
  at("missed").replaceChildren(...(missed.length ? ["There, not claimed: ", ...missed] : []));
  const score = analysis.score === null ? "unknown" : analysis.score.toFixed(2);
  at("notes").textContent = `AU F1 ${score}${analysis.well_formed ? "" : " · format broken"}`;
  showLabels(analysis.missed);
}

function showLabels(missed) {
  at("emotions").textContent = line.labels.join(" or ") || "emotion unknown";
  const rows = line.present.map(([number, code, grade]) => {
    const dots = grade === null ? "" : "●".repeat(Math.round(grade)) + "○".repeat(5 - Math.round(grade));
    const kind = missed.includes(number) ? "missed" : "right";
    return make("li", "", unit(number, kind, code), make("span", "name", units[number][0]), make("span", "grade", dots));
  });
  const none = line.coded ? "no Action Unit is there" : "Action Units unknown";
  at("present").replaceChildren(...(rows.length ? rows : [make("li", "", none)]));
  const absent = line.absent.flatMap((number) => [" ", unit(number, "")]);
  at("absent").replaceChildren(...(absent.length ? ["Looked for and absent:", ...absent] : []));
}

function showProgress({ counts, found, place, summary }) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const count = (verdict) => counts[verdict] ?? 0;
  for (const verdict of ["accept", "reject", "skip"]) {
    document.querySelector(`#bar .${verdict}`).style.width = `${(100 * count(verdict)) / total}%`;
  }
  const number = (value) => value.toLocaleString("en");
  const [fitting, decided, all] = found;
  at("counts").textContent =
    `${number(total - count("undecided"))} of ${number(total)} decided: ${number(count("accept"))} accepted, ` +
    `${number(count("reject"))} rejected, ${number(count("skip"))} skipped`;
  at("found").textContent =
    `${place ? `${number(place)} of ` : ""}${number(fitting)}; ${number(decided)} of ${number(all)} decided`;
  at("summary").replaceChildren(...summary.map((sentence) => make("li", "", sentence)));
}

// --- lines that are worded like this one ---

async function similar() {
  const about = key;
  const told = await answer("/similar", new URLSearchParams({ key }));
  if (!told || key !== about) return;
  const title = told.length ? "Worded alike" : "No line is worded like this one";
  at("similar").replaceChildren(make("h2", "", title), ...told.map(likeness));
  at("similar").hidden = false;
}

// One of them, which leads to its line.
function likeness(other) {
  const face = new Image();
  face.alt = "";
  face.src = `/face/${other.key}`;
  const state = other.verdict ? [make("span", other.verdict, other.verdict)] : [];
  const head = make("span", "name", `line ${other.place}: ${other.labels.join(" or ") || "emotion unknown"} `, ...state);
  const node = make("button", "", face, head, make("span", "text", other.text));
  node.type = "button";
  node.addEventListener("click", () => mode === "look" && go("/line", { key: other.key, move: "here" }));
  return node;
}

// --- rejecting and editing ---

// Each way to work has its own row of keys.
function enter(way) {
  mode = way;
  for (const row of ["look", "reject", "edit"]) at(row).hidden = row !== way;
  editor.hidden = way !== "edit";
  other.hidden = true;
  document.activeElement.blur();
}

function giveReason(reason) {
  if (reason !== "other") return decide("reject", reason);
  other.hidden = false;
  other.value = "";
  other.focus();
}

function edit() {
  enter("edit");
  editor.value = drafts.get(key) ?? line.analysis.text;
  editor.focus();
  preview();
}

// A textarea has its own line ends; a text that was not touched stays as it was.
function edited() {
  const before = line.analysis.text;
  return editor.value === before.replace(/\r\n?/g, "\n") ? before : editor.value;
}

async function save() {
  const draft = key;
  await decide("accept", "", edited());
  if (mode === "look") drafts.delete(draft);
}

function leaveEditor() {
  drafts.set(key, editor.value);
  enter("look");
  showAnalysis(line.analysis);
}

async function preview() {
  const [about, text] = [key, editor.value];
  const told = await answer("/marked", "", { key: about, text });
  if (told && mode === "edit" && key === about && editor.value === text) showAnalysis(told);
}

let pause = 0;
editor.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(preview, 150);
});

// --- keys ---

const KEYS = [
  ["a", "accept", () => line && decide("accept")],
  ["r", "reject", () => line && enter("reject")],
  ["e", "edit", () => line && edit()],
  ["s", "skip", () => line && decide("skip")],
  ["u", "undo", () => go("/undo", {}, {})],
  ["f", "find similar", () => line && similar()],
  ["ArrowLeft", "previous", () => move("previous")],
  ["ArrowRight", "next", () => move("next")],
];
let reasons = [];

function pressed(event) {
  if (event.altKey || event.repeat || working) return undefined;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (mode === "edit" && key === "Enter" && (event.ctrlKey || event.metaKey)) return save;
  if (key === "Escape") return mode === "edit" ? leaveEditor : () => enter("look");
  if (mode === "reject" && event.target === other) {
    return key === "Enter" && other.value.trim() ? () => decide("reject", other.value) : undefined;
  }
  if (event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return undefined;
  if (mode === "reject") return reasons[Number(key) - 1] && (() => giveReason(reasons[Number(key) - 1]));
  return mode === "look" ? KEYS.find(([name]) => name === key)?.[2] : undefined;
}

document.addEventListener("keydown", (event) => {
  const action = pressed(event);
  if (!action) return;
  event.preventDefault();
  action();
});

function button(key, name, action) {
  const node = make("button", "", make("kbd", "", key), name);
  node.type = "button";
  node.addEventListener("click", () => working || action());
  return node;
}

// --- filters and what a unit looks like ---

filter.addEventListener("change", (event) => {
  event.target.blur();
  refilter();
});
filter.addEventListener("reset", () => setTimeout(refilter));  // once the fields are empty
filter.addEventListener("submit", (event) => event.preventDefault());

async function refilter(where = "match") {
  for (const field of filter.querySelectorAll("select, input")) field.classList.toggle("used", Boolean(field.value));
  await working;  // a filter is not a key: it is never left out
  move(where);
}

function point(event) {
  const about = event.target.closest?.("[data-au]");
  tip.hidden = !about;
  if (!about) return;
  const [name, sign] = units[about.dataset.au] ?? ["no unit of the table", ""];
  tip.textContent = `AU${about.dataset.au} ${name}${sign && `: ${sign}`}`;
  const box = about.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${box.top - tip.offsetHeight - 6}px`;
}
for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, point);

async function start() {
  const told = await answer("/start", "");
  units = told.units;
  reasons = told.reasons;
  document.title = `${told.reviewer} reviews ${told.file}`;
  at("file").textContent = told.file;
  at("reviewer").textContent = `reviewer: ${told.reviewer}`;
  const asked = new URLSearchParams(location.search);
  for (const [name, values] of Object.entries(told.choices)) {
    const options = values.map(([value, count]) => new Option(count === null ? value : `${value} (${count})`, value));
    filter.elements[name].replaceChildren(new Option("any", ""), ...options);
  }
  for (const [name, value] of asked) if (filter.elements[name]) filter.elements[name].value = value;
  const arrows = { ArrowLeft: "←", ArrowRight: "→" };
  at("look").append(...KEYS.map(([name, word, action]) => button(arrows[name] ?? name, word, action)));
  other.before(...reasons.map((reason, number) => button(number + 1, reason, () => giveReason(reason))));
  at("reject").append(button("Esc", "leave", () => enter("look")));
  at("edit").append(button("Ctrl+Enter", "save and accept", save), button("Esc", "leave", leaveEditor));
  key = location.hash.slice(1);
  refilter("here");
}
start();
