// The page: four views over the server's own routes. No state is kept but the theme.
import { drawLive, stopLive } from "/live.js";
import { api, element, setKey, showError, clear } from "/api.js";

const $ = (id) => document.getElementById(id);
const VIEWS = ["rerank", "compare", "embed", "live"];
const SHOWN = 100; // results that are drawn at once

const EXAMPLES = [
  { name: "Why is the sky blue? (7 languages)", query: "why is the sky blue?", passages: [
    "Sunlight is scattered by the molecules of the air, blue light more than red.",
    "Der Himmel erscheint blau, weil kurzwelliges Licht stärker gestreut wird.",
    "La mer paraît bleue surtout parce que l'eau absorbe la lumière rouge.",
    "天空呈蓝色，是因为空气分子对波长较短的蓝光散射得更强。",
    "На закате солнце красное: его свет проходит через толстый слой воздуха.",
    "السماء زرقاء لأن جزيئات الهواء تشتت الضوء الأزرق أكثر من الأحمر.",
    "The ferry left the grey harbour at seven in the morning."] },
  { name: "A kitchen sieve", query: "what is a tamis used for?", passages: [
    "A tamis is a drum sieve; cooks press purées through its fine mesh.",
    "The Thames is called Tamise in French.",
    "Flour is sifted so that the dough has no lumps.",
    "Drums are tuned by tightening the skin."] },
  { name: "Which setting?", query: "how do I limit the memory of the server?", passages: [
    "memory_limit is the most that a model may take on a device.",
    "max_body bounds the size of a request.", "log_format is text or json."] },
];

let models = [];
const inputs = () => ({ query: $("query").value, passages: lines($("passages").value) });
const can = (model, what) => model.capabilities.includes(what);
const lines = (text) => text.split("\n").map((line) => line.trim()).filter((line) => line !== "");

function select(view) {
  for (const name of VIEWS) {
    const on = name === view;
    $("tab-" + name).setAttribute("aria-selected", String(on));
    $("tab-" + name).tabIndex = on ? 0 : -1;
    $("view-" + name).hidden = !on;
  }
  if (location.hash !== "#" + view) history.replaceState(null, "", "#" + view);
  if (view === "live") drawLive();
  else stopLive();
}

function fillModels() {
  const fill = (id, list) => {
    const kept = $(id).value;
    clear($(id));
    for (const model of list) {
      const option = element("option", `${model.id} (${model.dtype || "?"}, ${model.device || "?"})`);
      option.value = model.id;
      $(id).append(option);
    }
    if (list.some((m) => m.id === kept)) $(id).value = kept;
  };
  const rerankers = models.filter((m) => can(m, "rerank"));
  fill("rerank-model", rerankers);
  fill("model-left", rerankers);
  fill("model-right", rerankers);
  if (rerankers.length > 1) $("model-right").selectedIndex = 1;
  fill("embed-model", models.filter((m) => can(m, "embed") || can(m, "sparse")));
}

async function loadModels() {
  try {
    models = (await api("GET", "/v1/models")).data;
    $("key-form").hidden = true;
    $("state").textContent = models.length === 1 ? "1 model" : `${models.length} models`;
    fillModels();
  } catch (error) {
    $("state").textContent = error.status === 401 ? "a key is needed" : "no connection";
    $("key-form").hidden = error.status !== 401;
  }
}

/** Runs `work` with the form's button busy, and shows what goes wrong in `target`. */
async function busy(form, target, work) {
  const button = form.querySelector("button.main");
  button.disabled = true;
  target.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.status === 401) $("key-form").hidden = false;
    showError(target, error);
  } finally {
    button.disabled = false;
    target.removeAttribute("aria-busy");
  }
}

function scoreRequest(model) {
  const body = { model, ...inputs(), long: $("long").value };
  const longest = parseInt($("max-length").value, 10);
  if (longest > 0) body.max_length = longest;
  return body;
}

function resultItem(result, rank, text) {
  const item = element("li");
  const moved = result.index + 1 - rank;
  const facts = [`logit ${result.logit.toFixed(4)}`, `${result.tokens} tokens`, `was ${result.index + 1}` +
    (moved > 0 ? ` ▲${moved}` : moved < 0 ? ` ▼${-moved}` : "")];
  if (result.truncated) facts.push("cut");
  if (result.chunks > 1) facts.push(`best of ${result.chunks} chunks`);
  const words = element("div", text, "text");
  words.dir = "auto";
  const meter = element("div", "", "meter");
  const fill = element("div");
  fill.style.width = `${(100 * Math.max(0, Math.min(1, result.score))).toFixed(1)}%`;
  meter.append(fill);
  const line = element("div", "", "facts");
  line.append(element("b", result.score.toFixed(4)), " · " + facts.join(" · "));
  item.append(element("div", String(rank), "rank"), words, meter, line);
  return item;
}

function ranking(results, passages) {
  const list = element("ol", "", "ranking");
  const draw = (from, to) => {
    for (let i = from; i < Math.min(to, results.length); ++i) {
      list.append(resultItem(results[i], i + 1, passages[results[i].index]));
    }
  };
  draw(0, SHOWN);
  if (results.length <= SHOWN) return [list];
  const more = element("button", `Show all ${results.length}`);
  more.type = "button";
  more.addEventListener("click", () => { draw(SHOWN, results.length); more.remove(); });
  return [list, more];
}

function summary(answer) {
  const t = answer.timings;
  return element("p", `${answer.results.length} passages, ${answer.usage.tokens} tokens in ${t.total_ms.toFixed(1)} ms ` +
    `(tokenise ${t.tokenize_ms.toFixed(1)}, wait ${t.queue_ms.toFixed(1)}, compute ${t.inference_ms.toFixed(1)})`, "summary");
}

async function rank() {
  const target = $("rerank-result"), { passages } = inputs();
  const answer = await api("POST", "/v1/score", scoreRequest($("rerank-model").value));
  clear(target).append(summary(answer), ...ranking(answer.results, passages));
}

/** Kendall's tau of two orders of the same indices. */
function kendall(left, right) {
  const place = new Map(right.map((r, i) => [r.index, i]));
  let agree = 0;
  for (let i = 0; i < left.length; ++i) {
    for (let j = i + 1; j < left.length; ++j) {
      agree += place.get(left[i].index) < place.get(left[j].index) ? 1 : -1;
    }
  }
  return left.length > 1 ? (2 * agree) / (left.length * (left.length - 1)) : 1;
}

async function compare() {
  const { passages } = inputs(), target = $("compare-result");
  const ids = [$("model-left").value, $("model-right").value];
  const answers = await Promise.all(ids.map((id) => api("POST", "/v1/score", scoreRequest(id))));
  const most = answers.map((a) => a.results.slice(0, 1000));
  const pair = element("div", "", "pair");
  answers.forEach((answer, i) => {
    const side = element("div");
    side.append(element("h2", ids[i]), summary(answer), ...ranking(answer.results, passages));
    pair.append(side);
  });
  const tau = kendall(most[0], most[1]);
  const same = answers[0].results[0]?.index === answers[1].results[0]?.index;
  clear(target).append(element("p", `Kendall's τ ${tau.toFixed(3)}; the first place is ${same ? "the same" : "another"}`, "summary"), pair);
}

function heat(texts, rows) {
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const length = rows.map((row) => Math.sqrt(dot(row, row)) || 1);
  const table = element("table", "", "heat");
  const head = element("tr");
  head.append(element("th"));
  texts.forEach((_, i) => head.append(element("th", String(i + 1))));
  table.append(head);
  rows.forEach((row, i) => {
    const line = element("tr"), name = element("th", `${i + 1}  ${texts[i]}`);
    name.scope = "row";
    name.title = texts[i];
    name.dir = "auto";
    line.append(name);
    rows.forEach((other, j) => {
      const near = dot(row, other) / (length[i] * length[j]);
      const cell = element("td", near.toFixed(3));
      const share = Math.round(100 * Math.max(0, Math.min(1, near)));
      cell.style.background = `color-mix(in srgb, var(--bar) ${share}%, var(--sheet))`;
      line.append(cell);
    });
    table.append(line);
  });
  return table;
}

async function embed() {
  const texts = lines($("texts").value), target = $("embed-result");
  const model = models.find((m) => m.id === $("embed-model").value);
  if (!model) throw new Error("no embedder is loaded: start the server with one (--model DIR)");
  const dense = can(model, "embed"), sparse = can(model, "sparse");
  const answer = await api("POST", "/v1/encode", { model: model.id, texts, dense, sparse });
  clear(target).append(element("p", `${texts.length} texts in ${answer.timings.total_ms.toFixed(1)} ms`, "summary"));
  if (dense) {
    const box = element("div", "", "scroll");
    box.tabIndex = 0;
    box.append(element("p", "Cosine similarity; the darker, the nearer.", "hint"), heat(texts, answer.data.map((d) => d.dense)));
    target.append(box);
  }
  if (!sparse) return;
  target.append(element("h2", "Lexical weights"));
  const table = element("table");
  answer.data.forEach((d, i) => {
    const best = d.sparse.weights.map((w, k) => [w, d.sparse.tokens[k]]).sort((a, b) => b[0] - a[0]).slice(0, 12);
    const line = element("tr");
    line.append(element("th", String(i + 1)), element("td", best.map(([w, t]) => `${t} ${w.toFixed(2)}`).join("  ")));
    table.append(line);
  });
  target.append(table);
}

function curl() {
  const body = JSON.stringify(scoreRequest($("rerank-model").value)).replaceAll("'", "'\\''");
  return `curl -s ${location.origin}/v1/score -H 'content-type: application/json' -d '${body}'`;
}

function start() {
  for (const view of VIEWS) $("tab-" + view).addEventListener("click", () => select(view));
  document.querySelector("nav").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = VIEWS.findIndex((v) => $("tab-" + v) === document.activeElement);
    const next = VIEWS[(now + step + VIEWS.length) % VIEWS.length];
    select(next);
    $("tab-" + next).focus();
  });
  for (const [form, target, work] of [["rerank-form", "rerank-result", rank], ["compare-form", "compare-result", compare],
    ["embed-form", "embed-result", embed]]) {
    $(form).addEventListener("submit", (event) => {
      event.preventDefault();
      busy($(form), $(target), work);
    });
    $(form).addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $(form).requestSubmit();
    });
  }
  EXAMPLES.forEach((example, i) => {
    const option = element("option", example.name);
    option.value = String(i);
    $("example").append(option);
  });
  const show = () => {
    const example = EXAMPLES[$("example").selectedIndex];
    $("query").value = example.query;
    $("passages").value = example.passages.join("\n");
  };
  $("example").addEventListener("change", show);
  show();
  $("texts").value = EXAMPLES[0].passages.join("\n");
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(curl());
      $("copy").textContent = "Copied";
    } catch {
      clear($("rerank-result")).append(element("pre", curl()));
    }
    setTimeout(() => { $("copy").textContent = "Copy as curl"; }, 1500);
  });
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value);
    loadModels();
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => { document.documentElement.dataset.theme = name; };
  theme(localStorage.getItem("theme") || (dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  });
  addEventListener("hashchange", () => select(viewOfAddress()));
  select(viewOfAddress());
  loadModels();
}

const viewOfAddress = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "rerank");

start();
