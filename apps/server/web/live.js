// The view of what the server does now: /v1/stats, once a second while somebody looks.
import { api, clear, element } from "/api.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let timer = 0;

export function stopLive() {
  clearTimeout(timer);
  timer = 0;
}

export async function drawLive() {
  stopLive();
  timer = setTimeout(drawLive, 1000);
  if (document.hidden) return;
  try {
    draw(await api("GET", "/v1/stats"));
    $("live-state").textContent = "";
  } catch (error) {
    $("live-state").textContent = error.status === 0 ? "Connection lost, trying again…" : error.message;
  }
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const number = (x) => (x === null || x === undefined ? "–" : plain.format(x));
const percent = (x) => `${Math.round(100 * x)} %`;

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; ++unit; }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toPrecision(3)} ${units[unit]}`;
}

function tile(value, name) {
  const out = element("div", "", "tile");
  out.append(element("b", value), element("span", name));
  return out;
}

function line(svg, values, most, name) {
  const step = 300 / (values.length - 1);
  let path = "", pen = "M";
  values.forEach((value, i) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${(i * step).toFixed(1)} ${(96 - 84 * value / most).toFixed(1)}`;
    // A second with nothing on either side would not be seen without a stroke of its own.
    if (pen === "M") path += "h1";
    pen = "L";
  });
  const out = document.createElementNS(SVG, "path");
  out.setAttribute("d", path);
  out.setAttribute("class", name);
  svg.append(out);
}

function chart(svg, rows, what) {
  const most = Math.max(1, ...rows.flat().filter((v) => v !== null));
  svg.setAttribute("viewBox", "0 0 300 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-label", `${what}, the last minute; at most ${number(most)}`);
  svg.replaceChildren();
  const axis = document.createElementNS(SVG, "path");
  axis.setAttribute("d", "M0 96H300");
  axis.setAttribute("class", "axis");
  svg.append(axis);
  rows.forEach((values, i) => line(svg, values, most, `line-${i + 1}`));
  svg.parentElement.querySelector("figcaption").textContent = `${what} · top ${number(most)}`;
}

function memory(device) {
  const out = element("div", "", "memory");
  const track = element("div", "", "track");
  const whole = device.limit_bytes > 0 ? device.limit_bytes : device.total_bytes;
  for (const [name, amount] of [["reserved", device.reserved_bytes], ["used", device.used_bytes]]) {
    const part = element("div", "", name);
    part.style.width = `${Math.min(100, 100 * amount / Math.max(1, whole))}%`;
    track.append(part);
  }
  const words = `${bytes(device.used_bytes)} used, ${bytes(device.reserved_bytes)} planned, peak ${bytes(device.peak_bytes)}, ` +
    `${bytes(device.free_bytes)} free of ${bytes(device.total_bytes)}` +
    (device.limit_bytes > 0 ? `, limit ${bytes(device.limit_bytes)}` : "");
  out.append(element("b", device.name), track, element("span", device.description, "hint"), element("span", words, "hint"));
  return out;
}

function modelTable(models) {
  const table = element("table"), head = element("tr");
  for (const name of ["model", "device", "dtype", "weights", "batches", "tokens", "busy", "waiting", ""]) head.append(element("th", name));
  table.append(head);
  for (const model of models) {
    model.replicas.forEach((r, i) => {
      const row = element("tr");
      const waiting = i === 0 ? `${model.load.calls} requests, ${number(model.load.waiting_tokens)} tokens` : "";
      const trouble = r.retired ? `out of service: ${r.error}` : r.out_of_memory > 0 ? `${r.out_of_memory} × out of memory` : "";
      for (const text of [i === 0 ? model.id : "", r.device, r.dtype, bytes(r.weight_bytes), number(r.batches), number(r.tokens),
        `${number(r.busy_ms / 1000)} s`, waiting, trouble]) row.append(element("td", text));
      table.append(row);
    });
  }
  return table;
}

function draw(s) {
  const state = s.server.draining ? "stopping" : s.server.ready ? "ready" : "loading";
  clear($("tiles")).append(
    tile(state, `${s.server.version}, up ${number(s.server.uptime_s / 60)} min`),
    tile(number(s.rates.requests_per_s), "requests/s"), tile(number(s.rates.tokens_per_s), "tokens/s"),
    tile(number(s.latency_ms.p50), "ms, p50 of a minute"), tile(number(s.latency_ms.p99), "ms, p99 of a minute"),
    tile(number(s.requests.running), "answered now"),
    tile(`${number(s.queue.tokens)}`, `tokens let in, of ${number(s.queue.limit_tokens)}`),
    tile(number(s.requests.refused), "refused so far"), tile(number(s.batches.sequences_mean), "sequences a batch"),
    tile(percent(s.batches.fill), "of a batch's room used"), tile(percent(s.batches.padding_saved), "padding saved"),
    tile(number(s.batches.out_of_memory), "batches halved for memory"));
  chart($("chart-requests"), [s.series.requests], "Requests a second");
  chart($("chart-tokens"), [s.series.tokens], "Tokens a second");
  chart($("chart-latency"), [s.series.p50_ms, s.series.p99_ms], "Latency, ms: p50, p99 dashed");
  clear($("devices")).append(...s.devices.map(memory));
  clear($("models")).append(modelTable(s.models));
}
