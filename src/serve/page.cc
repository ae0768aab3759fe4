#include "serve/page.h"

namespace kvsplice::serve {

const char* const kPage = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>KVSplice</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --weak: #888; --good: #2a7; --bad: #c43; }
  body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.3rem; margin: 0; }
  h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
  #state { color: var(--weak); margin: .2rem 0 1.2rem; }
  .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
  .tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
  .tile b { display: block; font-size: 1.35rem; font-weight: 600; }
  .tile span { color: var(--weak); font-size: .85rem; }
  table { border-collapse: collapse; width: 100%; font-size: .88rem; }
  th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); }
  th { color: var(--weak); font-weight: 500; }
  th:first-child, td:first-child, td.text, th.text { text-align: left; }
  .scroll { overflow-x: auto; }
</style>
</head>
<body>
<h1>KVSplice</h1>
<p id="state">asking ...</p>
<div class="tiles" id="tiles"></div>
<h2>Slots</h2>
<div class="scroll"><table id="slots"></table></div>
<h2>Last requests</h2>
<div class="scroll"><table id="requests"></table></div>
<script>
const bytes = n => n >= 1e9 ? (n / 1e9).toFixed(2) + ' GB' : n >= 1e6 ? (n / 1e6).toFixed(1) + ' MB' : Math.round(n / 1e3) + ' kB';
const count = n => Math.round(n).toLocaleString('en');
const time = s => s >= 3600 ? (s / 3600).toFixed(1) + ' h' : s >= 60 ? (s / 60).toFixed(1) + ' min' : s >= 1 ? s.toFixed(1) + ' s' : Math.round(s * 1000) + ' ms';
const share = (a, b) => b > 0 ? (100 * a / b).toFixed(0) + ' %' : '-';
const clock = at => new Date(at * 1000).toLocaleTimeString();

function row(table, cells, kind) {
  const line = table.insertRow();
  cells.forEach(cell => {
    const at = document.createElement(kind || 'td');
    if (Array.isArray(cell)) { at.className = 'text'; cell = cell[0]; }
    at.textContent = cell;
    line.appendChild(at);
  });
}

function tile(name, value) {
  const box = document.createElement('div'), big = document.createElement('b'), small = document.createElement('span');
  box.className = 'tile'; big.textContent = value; small.textContent = name;
  box.append(big, small);
  document.getElementById('tiles').appendChild(box);
}

function show(s) {
  document.getElementById('state').textContent = s.state + (s.why ? ': ' + s.why : '') + ' · ' + s.cells.model +
    ' · ' + s.cells.codec + ' · llama-server ' + s.server.build + ' · up ' + time(s.seconds);
  document.getElementById('tiles').replaceChildren();
  const c = s.counts;
  tile('evaluation saved', time(Math.max(0, c.saved_seconds)));
  tile('prompt tokens not evaluated', share(c.cached_tokens, c.prompt_tokens));
  tile('of them from the store', share(c.restored_tokens, c.prompt_tokens));
  tile('in the store, of ' + bytes(s.store.cap_bytes), bytes(s.store.bytes || 0));
  tile('smaller than f16', s.store.ratio > 0 ? s.store.ratio.toFixed(1) + ' times' : '-');
  tile('tokens stored', count(s.store.tokens || 0));
  tile('restored a second, tokens', count(s.rates.restore_tokens_per_second));
  tile('evaluated a second, tokens', count(s.rates.evaluate_tokens_per_second));
  const failures = c.saves_failed + c.restores_failed;
  if (failures > 0) tile('saves and restores that failed; the last: ' + c.last_failure, count(failures));
  if (s.remote) {
    const r = s.remote;
    tile('prompts found remotely, of ' + count(r.hits + r.misses), count(r.hits));
    tile('from the remote, to it', bytes(r.got_bytes) + ', ' + bytes(r.put_bytes));
    tile('remote: ' + (r.last_error || r.url), r.breaker === 'closed' ? 'asked' : 'left alone for ' + time(r.seconds_until_next));
    tile('wait to be sent; failures', bytes(r.queued_bytes) + '; ' + count(r.failures));
  }
  const slots = document.getElementById('slots');
  slots.replaceChildren();
  row(slots, ['slot', 'tokens', ['state']], 'th');
  s.slots.forEach(x => row(slots, [x.id, count(x.tokens), [x.busy ? 'busy' : x.to_be_saved ? 'to be saved' : 'idle']]));
  const requests = document.getElementById('requests');
  requests.replaceChildren();
  row(requests, ['at', ['kind'], 'status', 'slot', 'prompt', 'in slot', 'restored', 'not evaluated', 'answer', 'restoring', 'first byte', ['not restored because']], 'th');
  s.requests.forEach(r => row(requests, [clock(r.at), [r.api], r.status, r.slot, count(r.prompt_tokens), count(r.slot_tokens),
    count(r.restored_tokens), count(r.cached_tokens), count(r.predicted_tokens), time(r.restore_seconds), time(r.first_byte_seconds), [r.why_not_restored]]));
}

const keyName = 'kvsplice-key';

function asked() {
  const key = sessionStorage.getItem(keyName);
  return fetch('/kvsplice/status', key ? { headers: { Authorization: 'Bearer ' + key } } : {});
}

async function ask() {
  try {
    const answer = await asked();
    if (answer.status === 401) {
      const key = prompt('A key of llama-server (--api-key):');
      if (key === null) {
        document.getElementById('state').textContent = 'a key is needed: load the page again';
        return;
      }
      sessionStorage.setItem(keyName, key);
      return ask();
    }
    show(await answer.json());
  } catch (e) {
    document.getElementById('state').textContent = 'no answer: ' + e;
  }
  setTimeout(ask, 2000);
}
ask();
</script>
</body>
</html>
)html";

}  // namespace kvsplice::serve
