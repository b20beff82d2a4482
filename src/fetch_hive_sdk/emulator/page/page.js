// Shows the calls of the server. The content of calls is always set as text, never as HTML.
"use strict";

const MOST_CALLS = 500;
const calls = new Map(); // by id, oldest first
const rows = new Map();
let chosen = null; // the id of a call; null means the newest
let shown = { id: null, events: 0 }; // the state of the detail view
let isDrawing = false;

const $ = (id) => document.getElementById(id);

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// --- Reading a call ---

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const requestOf = (call) => (isObject(call.request) ? call.request : {});
const typeOf = (event) => (isObject(event.data) ? String(event.data.type ?? "?") : event.data === "[DONE]" ? "done" : "text");
const namedBy = (request) => request.deployment ?? request.agent ?? request.hive_agent;
const placeOf = (call) => `${call.method === "POST" ? "" : `${call.method} `}${call.path}`;
// The wrapper of an object that is created or changed, as opposed to run.
const nameOf = (call) => { const name = namedBy(requestOf(call)); return name && !isObject(name) ? asText(name) : placeOf(call); };
const isRefused = (call) => call.status >= 400;

function piecesOf(call, type) {
  return call.events.filter((event) => typeOf(event) === type).map((event) => asText(event.data.response ?? "")).join("");
}

function factOf(call, name) {
  if (isObject(call.body)) return call.body[name];
  return call.events.map((event) => isObject(event.data) ? event.data[name] : undefined).find((value) => value !== undefined);
}

const textIn = (body) => body.response ?? body.output ?? (body.run_status || body.status ? `(${body.run_status ?? body.status})` : "");
const answerOf = (call) => (isObject(call.body) ? asText(textIn(call.body)) : piecesOf(call, "response"));
const reasoningOf = (call) => (isObject(call.body) ? asText(call.body.reasoning ?? "") : piecesOf(call, "reasoning"));
const tokensOf = (call) => (isObject(factOf(call, "usage")) ? factOf(call, "usage").total_tokens : undefined);

function failureOf(call) {
  const event = call.events.find((each) => typeOf(each) === "error");
  const error = event ? event.data : isRefused(call) ? call.body : null;
  if (isObject(error)) return { text: asText(error.message ?? error.error ?? ""), code: error.error_code ?? error.code ?? "" };
  if (error) return { text: asText(error), code: "" };
  if (call.state === "broken") return { text: "The connection broke, as scripted.", code: "" };
  if (call.state === "left") return { text: "The client disconnected before the end.", code: "" };
  return endsEarly(call) ? { text: "The answer ended early, as scripted.", code: "" } : null;
}

function endsEarly(call) {
  if (call.state !== "done" || isRefused(call)) return false;
  if (!call.events.length) return typeof call.body === "string" || (call.body === null && call.path.endsWith("/invoke"));
  return !call.events.some((event) => ["usage", "error", "done"].includes(typeOf(event)));
}

function stateOf(call) {
  if (call.state === "open") return [call.status === null ? "waiting" : "running", "busy"];
  if (isRefused(call)) return [String(call.status), "bad"];
  if (call.state === "broken") return ["cut", "bad"];
  if (call.state === "left") return ["client left", "bad"];
  if (endsEarly(call)) return ["ended early", "bad"];
  return call.events.some((event) => typeOf(event) === "error") ? ["error", "bad"] : [String(call.status), "good"];
}

const timeOf = (call) => new Date(call.at * 1000).toLocaleTimeString();
const duration = (ms) => (ms === null ? "" : ms < 10 ? `${ms} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
const tokens = (number) => (number === undefined ? "" : `${number} token${number === 1 ? "" : "s"}`);

// --- The list ---

function isWanted(call) {
  const words = $("filter").value.trim().toLowerCase();
  return `${nameOf(call)} ${asText(requestOf(call).variant ?? "")}`.toLowerCase().includes(words);
}

const wanted = () => [...calls.values()].reverse().filter(isWanted);

function makeRow(call) {
  const item = element("li");
  const button = element("button", "", { type: "button", class: "call" });
  for (const part of ["name", "badge", "preview", "meta"]) button.append(element("span", "", { class: part }));
  button.addEventListener("click", () => { choose(call.id); openDetail(); });
  item.append(button);
  rows.set(call.id, item);
  $("calls").prepend(item);
}

function drawRow(call) {
  if (!rows.has(call.id)) makeRow(call);
  const [name, badge, preview, meta] = rows.get(call.id).firstChild.children;
  const variant = requestOf(call).variant;
  name.replaceChildren(nameOf(call), ...(variant ? [" ", element("i", asText(variant))] : []));
  [badge.textContent, badge.dataset.kind] = stateOf(call);
  preview.textContent = (answerOf(call) || failureOf(call)?.text || "\u00a0").slice(0, 200);
  const form = requestOf(call).streaming ? "stream" : "";
  meta.textContent = [timeOf(call), duration(call.ms), tokens(tokensOf(call)), form].filter(Boolean).join(" \u00b7 ");
  rows.get(call.id).hidden = !isWanted(call);
}

function drawList() {
  const open = current();
  const found = wanted().length;
  for (const [id, row] of rows) row.firstChild.setAttribute("aria-current", String(id === open?.id));
  $("count").textContent = found === calls.size ? calls.size : `${found} of ${calls.size}`;
  $("none").hidden = found > 0 || !calls.size;
  $("welcome").hidden = calls.size > 0;
  document.body.toggleAttribute("data-empty", !calls.size);
}

function drawNames() {
  const names = [...new Set([...calls.values()].map(nameOf))].sort();
  if (names.length !== $("deployments").children.length) {
    $("deployments").replaceChildren(...names.map((name) => element("option", "", { value: name })));
  }
}

// --- The detail ---

const current = () => (calls.has(chosen) && isWanted(calls.get(chosen)) ? calls.get(chosen) : wanted()[0]);

function drawDetail() {
  const call = current();
  $("detail").hidden = !call;
  if (!call) { shown = { id: null, events: 0 }; return; }
  const isNew = call.id !== shown.id;
  if (isNew) { shown = { id: call.id, events: 0 }; $("detail").scrollTop = 0; $("copied").textContent = ""; }
  const request = requestOf(call);
  $("deployment").textContent = nameOf(call);
  $("variant").textContent = request.variant ? asText(request.variant) : "";
  [$("status").textContent, $("status").dataset.kind] = stateOf(call);
  $("copy-python").disabled = !isObject(call.request) && (call.method === "POST" || call.request !== "");
  drawPairs($("facts"), {
    "at": timeOf(call), "took": duration(call.ms), "tokens": tokensOf(call), "model": factOf(call, "model"),
    "request id": factOf(call, "request_id"), "user": request.user,
    "metadata": request.metadata && JSON.stringify(request.metadata),
  });
  if (isNew) drawPairs($("inputs-list"), isObject(call.request) ? inputsOf(request) : { body: call.request });
  $("inputs").hidden = !$("inputs-list").children.length;
  drawSection("reasoning", reasoningOf(call));
  drawSection("answer", answerOf(call));
  const failure = failureOf(call);
  drawSection("error", failure?.text);
  $("error-title").textContent = isRefused(call) ? "Refused" : "Failed";
  $("error-code").textContent = failure?.code ?? "";
  drawEvents(call);
}

// The inputs of a run, or the fields of any other call.
function inputsOf(request) {
  if (request.deployment) return request.inputs ?? {};
  const { agent, hive_agent, user, metadata, streaming, ...rest } = request;
  return isObject(agent) ? { agent, ...rest } : rest;
}

function drawSection(name, text) {
  $(name).hidden = !text;
  if ($(`${name}-text`).textContent !== (text ?? "")) $(`${name}-text`).textContent = text ?? "";
}

function drawPairs(list, pairs) {
  const known = Object.entries(isObject(pairs) ? pairs : { inputs: pairs }).filter(([, value]) => ![undefined, null, ""].includes(value));
  list.replaceChildren(...known.map(([name, value]) => {
    const pair = list.id === "facts" ? element("div") : document.createDocumentFragment();
    pair.append(element("dt", name), element("dd", asText(value)));
    return pair;
  }));
}

const LANES = { reasoning: 0, response: 1 };

function drawEvents(call) {
  $("events").hidden = !call.events.length;
  $("events-count").textContent = call.events.length + (call.left_out ? `, and ${call.left_out} not logged` : "");
  if (!shown.events) { $("events-list").replaceChildren(); $("marks").replaceChildren(); }
  for (const event of call.events.slice(shown.events)) {
    const type = typeOf(event);
    const item = element("li", "", { "data-type": type });
    item.append(element("time", duration(event.ms)), element("b", type), element("span", textOf(event)));
    $("events-list").append(item);
    $("marks").append(element("i", "", { "data-type": type, "data-lane": LANES[type] ?? 2 }));
  }
  shown.events = call.events.length;
  const end = Math.max(call.ms ?? 0, call.events.at(-1)?.ms ?? 0, 1);
  [$("middle").textContent, $("end").textContent] = [duration(Math.round(end / 2)), duration(end)];
  [...$("marks").children].forEach((mark, index) => { mark.style.left = `${(100 * call.events[index].ms) / end}%`; });
}

function textOf(event) {
  if (!isObject(event.data)) return asText(event.data);
  if (typeof event.data.response === "string") return event.data.response;
  const { type, request_id, ...rest } = event.data;
  return JSON.stringify(rest);
}

function draw() {
  isDrawing = false;
  drawList();
  drawDetail();
}

function drawSoon() {
  if (!isDrawing) { isDrawing = true; requestAnimationFrame(draw); }
}

// --- Navigation ---

function choose(id) {
  chosen = id;
  draw();
}

function openDetail() {
  document.body.dataset.view = "detail";
  $("deployment").focus();
}

function closeDetail() {
  document.body.dataset.view = "list";
  rows.get(current()?.id)?.firstChild.focus();
}

function move(step) {
  const list = wanted();
  const place = list.findIndex((call) => call.id === current()?.id);
  const next = list[Math.min(Math.max(place + step, 0), list.length - 1)];
  if (!next) return;
  choose(next.id);
  if (document.body.dataset.view === "list" || !$("detail").contains(document.activeElement)) rows.get(next.id).firstChild.focus();
}

function escape() {
  if (document.activeElement === $("filter")) {
    $("filter").value = "";
    $("filter").blur();
    refilter();
  } else if ($("detail").contains(document.activeElement) || document.body.dataset.view === "detail") {
    closeDetail();
  } else {
    document.activeElement.blur();
    choose(null);
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { event.preventDefault(); escape(); return; }
  if (document.activeElement === $("filter")) {
    if (event.key === "Enter" && current()) { choose(current().id); openDetail(); }
    return;
  }
  // Arrow keys scroll the detail view.
  const isReading = $("detail").contains(document.activeElement);
  const isArrow = event.key.startsWith("Arrow");
  const keys = {
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    "/": () => { if (document.body.dataset.view === "detail") closeDetail(); $("filter").focus(); },
    Enter: () => { if (current()) { choose(current().id); openDetail(); } },
  };
  // Leave Enter to a focused button.
  if (!keys[event.key] || (isArrow && isReading) || (event.key === "Enter" && event.target.closest("button"))) return;
  event.preventDefault();
  keys[event.key]();
}

function refilter() {
  for (const [id, row] of rows) row.hidden = !isWanted(calls.get(id));
  draw();
}

// --- Copying ---

const BASE_URL = `${location.origin}/v1`;

function asPython(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => asPython(item, `${indent}    `))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${asPython(item, `${indent}    `)}`);
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length + indent.length < 90 && !line.includes("\n")) return line;
  return `${open}\n${items.map((item) => `${indent}    ${item},\n`).join("")}${indent}${close}`;
}

// The client's methods and their keywords by path. Other fields go into extra_body.
const COMMON = ["user", "metadata"];
const PROMPT = ["invoke_prompt", "response", ["deployment", "variant", "inputs", ...COMMON]];
const METHODS = {
  "/prompt/invoke": PROMPT,
  "/invoke": PROMPT,
  "/workflow/invoke": ["invoke_workflow", "output", ["deployment", "variant", "inputs", "async_mode", "callback_url", ...COMMON, "tool_approval"]],
  "/agent/invoke": ["invoke_agent", "response", ["agent", "message", "thread_id", ...COMMON, "messages", "attachments", "known_artifact_refs", "artifact_refs", "async_options", "tool_approval"]],
  "/hive-agent/invoke": ["invoke_hive_agent", "run_id", ["hive_agent", "objective", "callback_url", "sources", "metadata", "unattended", "budget_policy"]],
};

// The fields of a request by the names of the Python keywords.
function keywordsOf(method, { streaming, async: options, ...fields }) {
  if (options === undefined) return fields;
  if (method === "invoke_agent") return { ...fields, async_options: options };
  const callback = options?.callback_url === undefined ? {} : { callback_url: options.callback_url };
  if (method === "invoke_hive_agent") return { ...fields, ...callback };
  return { ...fields, ...(options?.enabled === true ? { async_mode: true } : {}), ...callback };
}

function toPython(call) {
  const lines = ["from fetch_hive_sdk import FetchHive", "", `client = FetchHive(base_url="${BASE_URL}")  # with the key in FETCH_HIVE_API_KEY`];
  const path = call.path.replace(/^\/v1/, "");
  if (!METHODS[path]) {
    const body = isObject(call.request) ? `, json=${asPython(call.request)}` : "";
    return [...lines, `answer = client.raw_request("${call.method}", ${asPython(path)}${body})`, "print(answer.json)", ""].join("\n");
  }
  const [method, field, names] = METHODS[path];
  const fields = keywordsOf(method, call.request);
  const extra = Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
  const known = names.map((name) => [name, fields[name]]);
  const given = [...known, ["extra_body", Object.keys(extra).length ? extra : undefined]].filter(([, value]) => value !== undefined);
  const keywords = given.map(([name, value]) => `    ${name}=${asPython(value, "    ")},\n`).join("");
  if (!call.request.streaming) return [...lines, `result = client.${method}(\n${keywords})`, `print(result.${fields.async_mode ? "request_id" : field})`, ""].join("\n");
  return [...lines, `for event in client.${method}_stream(\n${keywords}):`, "    print(event)", ""].join("\n");
}

function toCurl(call) {
  const hasBody = call.request !== "" && call.request !== null;
  const quoted = `'${asText(isObject(call.request) ? JSON.stringify(call.request) : call.request).replaceAll("'", "'\\''")}'`;
  const path = `'${(location.origin + call.path).replaceAll("'", "%27")}'`;
  const method = call.method === "POST" ? "" : `-X ${call.method} `;
  return [
    `curl -sS ${requestOf(call).streaming ? "-N " : ""}${method}${path}`,
    `  -H "Authorization: Bearer $FETCH_HIVE_API_KEY"`,
    ...(hasBody ? [`  -H 'Content-Type: application/json'`, `  --data-raw ${quoted}`] : []),
  ].join(" \\\n") + "\n";
}

async function copy(write) {
  try {
    await navigator.clipboard.writeText(write(current()));
    $("copied").textContent = current().is_shortened ? "Copied, with long texts shortened" : "Copied";
  } catch {
    $("copied").textContent = "The browser does not allow copying";
  }
}

// --- Feed ---

function take(message) {
  if (message.kind === "snapshot") {
    calls.clear();
    rows.clear();
    $("calls").replaceChildren();
    shown = { id: null, events: 0 };
    for (const call of message.calls) { calls.set(call.id, call); drawRow(call); }
  } else if (message.kind === "call") {
    calls.set(message.call.id, message.call);
    forgetOldest();
  }
  const call = calls.get(message.id ?? message.call?.id);
  if (call) {
    if (message.kind === "change") Object.assign(call, message.facts);
    if (message.kind === "event") call.events.push(message.event);
    drawRow(call);
  }
  if (message.kind === "call" || message.kind === "snapshot") drawNames();
  drawSoon();
}

function forgetOldest() {
  while (calls.size > MOST_CALLS) {
    const [oldest] = calls.keys();
    calls.delete(oldest);
    rows.get(oldest).remove();
    rows.delete(oldest);
  }
}

function connect() {
  const feed = new EventSource("/events");
  const setConnection = (state, text) => { $("connection").dataset.state = state; $("connection").textContent = text; };
  feed.onopen = () => setConnection("live", "live");
  feed.onerror = () => {
    setConnection("lost", "the server has stopped");
    if (feed.readyState === EventSource.CLOSED) setTimeout(connect, 1000);
  };
  feed.onmessage = (event) => take(JSON.parse(event.data));
}

$("example").textContent = `from fetch_hive_sdk import FetchHive

client = FetchHive(base_url="${BASE_URL}")
result = client.invoke_prompt(
    deployment="summarise",
    inputs={"text": "A long text."},
)
print(result.response)`;
$("filter").addEventListener("input", refilter);
$("back").addEventListener("click", closeDetail);
$("copy-python").addEventListener("click", () => copy(toPython));
$("copy-curl").addEventListener("click", () => copy(toCurl));
document.addEventListener("keydown", onKey);
draw();
connect();
