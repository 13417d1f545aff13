// The page of `fea serve`: a face goes to /analyze, and what the model says of it appears as it is written.
// What a model or a file says is only ever added as text, never as HTML.

const at = (id) => document.getElementById(id);
const asking = at("asking"), text = at("text");

let known = null;      // what the server says at the start
let running = null;    // ends the question that is being answered
let asked = null;      // {name, image}: the face of the last question
let told = null;       // {name, result}: what is downloaded

function make(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...children);
  return node;
}

function say(sentence) {
  at("message").textContent = sentence;
  at("message").hidden = !sentence;
}

// --- asking ---

// The events of an answer, one by one.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}

async function post(body, signal) {
  const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const got = await fetch("/analyze", sent);
  if (!got.ok) throw new Error((await got.json().catch(() => ({}))).error ?? `the server answers ${got.status}`);
  return got;
}

// Asks about a face, which is base64 or a data: address; a question that is under way is left.
async function ask(name, image) {
  running?.abort();
  const mine = (running = new AbortController());
  asked = { name, image };
  clear();
  try {
    await listen(name, image, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    const lost = error instanceof TypeError;  // what fetch throws when nobody answers
    say(lost ? "The server does not answer: start the command again and open the address that it prints." : `${error.message}`);
    at("state").textContent = "";
  } finally {
    if (running === mine) text.classList.remove("writing");
  }
}

async function listen(name, image, signal) {
  const form = new FormData(asking);
  const how = { image, question: form.get("question"), faces: form.get("faces") };
  at("state").textContent = "waiting";
  let said = "";
  for await (const event of events((await post({ ...how, stream: true, shown: true }, signal)).body)) {
    if (event.error) throw new Error(event.error);
    if (event.shown) await look(event.shown);
    if (event.text) {
      said += event.text;
      at("state").textContent = "writing";
      text.replaceChildren(...colored(said.replace(/<\/?\s*(think|answer)[^>]*>?/g, " ").trim()));
    }
    if (event.result) {
      told = { name, result: event.result };
      show(told.result);
    }
  }
  if (!told) throw new Error("the answer broke off");
  at("state").textContent = "";
  const samples = Number(form.get("samples"));
  if (samples) await count({ ...how, samples }, signal);
}

// Votes come behind the likeliest answer, which stays as it is.
async function count(body, signal) {
  at("state").textContent = `asking ${body.samples} times`;
  const { results: [result] } = await (await post(body, signal)).json();
  told.result = { ...told.result, votes: result.votes, emotion_votes: result.emotion_votes };
  show(told.result);
  at("state").textContent = "";
}

// --- showing ---

function clear() {
  say("");
  told = null;
  text.replaceChildren();
  text.classList.add("writing");
  for (const id of ["answer", "written", "looked"]) at(id).hidden = true;
  at("notes").textContent = "";
  at("download").disabled = true;
}

async function look(address) {
  const bytes = Uint8Array.from(atob(address.split(",")[1]), (letter) => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  const canvas = at("shown");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  at("looked").hidden = false;
}

function unit(code, kind, words = code) {
  const node = make("span", kind, words);
  const [name, sign, ink, fill] = known.units[code.slice(2)] ?? ["no unit of the table", "", "#4a5560", "#e6e9ed"];
  node.title = `${code} ${name}${sign && `: ${sign}`}`;
  if (kind !== "supposed") [node.style.color, node.style.background] = [ink, fill];
  return node;
}

// While it is written: nobody can tell yet whether a unit will be denied.
function* colored(said) {
  let end = 0;
  for (const found of said.matchAll(/AU\s?(\d{1,2})/g)) {
    yield said.slice(end, found.index);
    yield unit(`AU${found[1]}`, "", found[0]);
    end = found.index + found[0].length;
  }
  yield said.slice(end);
}

// Places are counted in characters, of which JavaScript's texts may take two for one.
function* marked(reasoning, mentions) {
  const letters = [...reasoning], part = (start, end) => letters.slice(start, end).join("");
  let end = 0;
  for (const mention of mentions.filter(({ start }, n) => n === 0 || start >= mentions[n - 1].end)) {
    yield part(end, mention.start);
    yield unit(mention.AU, mention.claimed ? "" : "supposed", part(mention.start, mention.end));
    end = mention.end;
  }
  yield part(end);
}

function bar(share, color) {
  if (share === undefined) return [];
  const fill = make("i", "");
  [fill.style.width, fill.style.background] = [`${100 * share}%`, color];
  return [make("div", "bar", fill), make("span", "share", share.toFixed(2))];
}

function show(result) {
  at("answer").hidden = false;
  at("download").disabled = false;
  text.classList.remove("writing");
  text.replaceChildren(...(result.reasoning ? marked(result.reasoning, result.mentions) : [result.text]));
  at("raw").textContent = result.text;
  at("written").hidden = false;
  const notes = [];
  if (!result.valid) notes.push("The answer is not well-formed.");
  if (result.truncated) notes.push("It met its length limit.");
  at("notes").textContent = notes.join(" ");
  const told = ["valence", "arousal"].filter((name) => typeof result[name] === "number");
  const affect = told.map((name) => `${name} ${result[name]}`);
  at("emotion").textContent = [result.emotion || "none is named", ...affect].join(", ");
  const emotions = Object.entries(result.emotion_votes ?? {}).sort(([, a], [, b]) => b - a);
  at("emotions").replaceChildren(...emotions.map(([name, share]) =>
    make("li", "", make("span", "name", name), ...bar(share, name === result.emotion ? "#4a6fa5" : "#a9b8cc"))));
  const claimed = result.AUs ?? []; // null where the answer stands alone
  const codes = [...new Set([...claimed, ...Object.keys(result.votes ?? {})])];
  codes.sort((a, b) => a.slice(2) - b.slice(2));
  const rows = codes.map((code) => {
    const chip = unit(code, "chip");
    if (!claimed.includes(code)) [chip.style.color, chip.style.background] = ["#5a6673", "#e6e9ed"];
    const name = make("span", "name", chip, known.units[code.slice(2)]?.[0] ?? "no unit of the table");
    return make("li", "", name, ...bar(result.votes && (result.votes[code] ?? 0), chip.style.color));
  });
  at("units").replaceChildren(...(rows.length ? rows : [make("li", "", result.AUs ? "none is claimed" : "none is asked for")]));
  drawClaims(result);
}

function drawClaims(result) {
  const claimed = result.AUs ?? [];
  const shown = claimed.filter((code) => known.drawn.includes(Number(code.slice(2))));
  const undrawn = claimed.filter((code) => !shown.includes(code));
  at("schematic").src = `/drawn?${new URLSearchParams(shown.map((code) => [code, result.strengths[code]]))}`;
  at("undrawn").textContent = undrawn.length ? `; cannot be drawn: ${undrawn.join(", ")}` : "";
}

at("download").addEventListener("click", () => {
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ image: told.name, ...told.result }, null, 2)]));
  link.download = `${told.name.replace(/\.[^.]*$/, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// --- photographs ---

const base64 = (blob) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => failed(reader.error);
  reader.readAsDataURL(blob);
});

async function take(file) {
  if (!file) return;
  probes += 1;
  clear();
  text.classList.remove("writing");
  const most = (known.largest * 3) / 4 - 4096;  // of base64, and of what stands around it
  if (file.size > most) {
    say(`${file.name} has ${file.size} bytes; the server takes at most ${Math.floor(most)}. Make it smaller.`);
    return;
  }
  const image = await base64(file).catch(() => say(`${file.name} cannot be read`));
  if (image !== undefined) await ask(file.name, image);
}

at("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = "";  // the same file may be chosen again
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind !== "drop") return;
    enter("photograph");
    take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
at("drop").addEventListener("keydown", (event) => event.key === "Enter" && at("file").click());

// --- the camera ---

async function watch() {
  try {
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    at("snap").disabled = false;
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`);
  }
}

function unwatch() {
  for (const track of at("video").srcObject?.getTracks() ?? []) track.stop();
  at("video").srcObject = null;
  at("snap").disabled = true;
}

at("snap").addEventListener("click", async () => {
  const canvas = make("canvas", ""), video = at("video");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  ask("camera.png", await base64(await new Promise((done) => canvas.toBlob(done, "image/png"))));
});

// --- the drawn face ---

const sliders = () => [...at("sliders").querySelectorAll("input")];

function address() {
  const strengths = sliders().filter(({ value }) => Number(value)).map(({ name, value }) => [name, value]);
  return `/drawn?${new URLSearchParams([...strengths, ["size", 224]])}`;
}

function draw() {
  for (const slider of sliders()) slider.nextElementSibling.value = Number(slider.value).toFixed(2);
  at("probe").src = address();
}

let probes = 0;

// What was drawn last is asked about, in whatever order the pictures come; keys that are held down are one change.
async function probe() {
  const mine = ++probes;
  await new Promise((done) => setTimeout(done, 120));
  if (mine !== probes) return;
  const got = await fetch(address()).catch(() => null);
  if (mine !== probes) return;
  if (got?.ok) ask("drawn.png", await base64(await got.blob()));
  else say("The face cannot be drawn: the server does not answer.");
}

at("sliders").addEventListener("input", draw);
at("sliders").addEventListener("change", probe);
at("rest").addEventListener("click", () => {
  for (const slider of sliders()) slider.value = 0;
  draw();
  probe();
});

// --- the start ---

function enter(way) {
  for (const tab of at("ways").children) tab.setAttribute("aria-selected", String(tab.dataset.way === way));
  for (const part of document.querySelectorAll(".way")) part.hidden = part.id !== way;
  if (way === "camera") watch();
  else unwatch();
  if (way === "drawn") draw();
}

at("ways").addEventListener("click", (event) => event.target.dataset.way && enter(event.target.dataset.way));
asking.addEventListener("submit", (event) => event.preventDefault());
asking.addEventListener("change", () => asked && ask(asked.name, asked.image));

async function start() {
  known = await (await fetch("/start")).json();
  at("model").textContent = known.model;
  asking.elements.faces.value = known.faces === "none" ? "none" : "largest";  // the words of one face at a time are told
  document.title = `fea ${known.model}`;
  at("sliders").replaceChildren(...known.drawn.map((number) => {
    const slider = make("input", "");
    Object.assign(slider, { type: "range", name: `AU${number}`, min: 0, max: 1, step: 0.05, value: 0 });
    const row = make("label", "", `AU${number}`, slider, make("output", "", "0.00"));
    row.title = `${known.units[number][0]}: ${known.units[number][1]}`;
    return row;
  }));
}
start();
