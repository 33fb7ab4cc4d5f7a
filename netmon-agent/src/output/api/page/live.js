// Listens to the agent, and puts what it says now in place of what it said before. Without this the page loads itself anew.
'use strict';
(() => {
  const SECOND = 1000;
  // Figures are asked for so often while somebody looks, and so often while the page is hidden, for its title.
  const LOOK = 5 * SECOND, HIDDEN = 30 * SECOND;
  // No more often than this, however much changes; longer where an answer takes long.
  const GAP = SECOND;
  const ANSWER = 10 * SECOND;
  // Until the stream is tried again: after it broke, and where the agent has no room for one.
  const AGAIN = SECOND, FULL = 30 * SECOND;

  const at = (id) => document.getElementById(id);
  const link = at('link'), said = at('said');
  let stream = null, retry = 0, timer = 0, counter = 0;
  let asking = false, due = false, hurried = 0, gap = GAP, wait = SECOND;
  let seen = performance.now(), how = 'asked', lost = false;

  // What changed alone is touched: focus, selection, open details and the place on the page stay.
  const key = (node) => node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : '';

  const attributes = (from, to) => {
    for (const { name } of [...from.attributes]) {
      if (name !== 'open' && !to.hasAttribute(name)) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (name !== 'open' && from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
  };

  const put = (from, to) => {
    attributes(from, to);
    const known = new Map();
    for (const node of from.childNodes) if (key(node)) known.set(key(node), node);
    let place = from.firstChild;
    for (const next of [...to.childNodes]) {
      const id = key(next);
      let old = id ? known.get(id) : place;
      if (old && !id && key(old)) old = null;
      if (!old || old.nodeName !== next.nodeName) {
        from.insertBefore(document.importNode(next, true), place);
        continue;
      }
      known.delete(id);
      if (old === place) place = place.nextSibling;
      else from.insertBefore(old, place);
      if (old.nodeType === Node.ELEMENT_NODE) put(old, next);
      else if (old.data !== next.data) old.data = next.data;
    }
    while (place) {
      const after = place.nextSibling;
      place.remove();
      place = after;
    }
  };

  const tell = () => {
    const { asOf, title } = at('live').dataset;
    const age = Math.round((performance.now() - seen) / SECOND);
    document.body.classList.toggle('lost', lost);
    link.dataset.link = lost ? 'lost' : how;
    link.textContent = lost
      ? `No answer from the agent. This is as of ${asOf}, ${age} s ago; reconnecting …`
      : how === 'live' ? `Live, as of ${asOf}` : `Asked every ${LOOK / SECOND} s, as of ${asOf}`;
    document.title = lost ? `lost – ${title}` : title;
  };

  const set = (now) => {
    if (lost !== now) {
      lost = now;
      clearInterval(counter);
      if (lost) {
        counter = setInterval(tell, SECOND);
        said.textContent = 'The agent does not answer any more. What is shown may be old.';
      } else {
        said.textContent = `The agent answers again. ${at('live').dataset.said}`;
      }
    }
    tell();
  };

  const show = (text) => {
    const next = new DOMParser().parseFromString(text, 'text/html').getElementById('live');
    if (!next) throw new Error('no page of the agent');
    const here = at('live'), before = here.dataset.said, focused = document.activeElement;
    // The agent is another one.
    if (next.dataset.build !== here.dataset.build) return location.reload();
    put(here, next);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    at('icon').href = next.dataset.icon;
    if (!lost && next.dataset.said !== before) said.textContent = next.dataset.said;
    seen = performance.now();
  };

  const look = async () => {
    if (asking) {
      due = true;
      return;
    }
    asking = true;
    due = false;
    clearTimeout(timer);
    const began = performance.now();
    try {
      const address = new URL(location.href);
      address.hash = '';
      address.searchParams.set('part', 'live');
      const answer = await fetch(address, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER) });
      if (!answer.ok) throw new Error(answer.statusText);
      show(await answer.text());
      wait = SECOND;
      set(false);
    } catch {
      set(true);
      wait = Math.min(wait * 1.5, LOOK);
    }
    asking = false;
    gap = Math.max(GAP, 10 * (performance.now() - began));
    if (lost) plan(wait);
    else if (due) changed();
    else plan(document.hidden ? HIDDEN : LOOK);
  };

  const plan = (pause, act = look) => {
    clearTimeout(timer);
    timer = setTimeout(act, pause);
  };

  // The first change after a quiet second shows at once; those that follow it are gathered.
  const changed = () => {
    const left = hurried + gap - performance.now();
    if (asking) {
      due = true;
    } else if (left > 0) {
      plan(left, changed);
    } else {
      hurried = performance.now();
      look();
    }
  };

  const follow = async () => {
    clearTimeout(retry);
    if (stream || document.hidden) return;
    const own = stream = new AbortController();
    let pause = AGAIN;
    try {
      const answer = await fetch('v1/events?connections=1', { cache: 'no-store', signal: own.signal });
      if (answer.status === 503) pause = FULL;
      if (!answer.ok) throw new Error(answer.statusText);
      how = 'live';
      if (!lost) tell();
      // It gives a sign of life every two seconds. Longer silence: it hangs, or the way to it is lost.
      const silence = 3 * SECOND + Number(answer.headers.get('netmon-stale-after-ms') || 6 * SECOND);
      const reader = answer.body.getReader(), decoder = new TextDecoder();
      for (let text = ''; ;) {
        const dead = setTimeout(() => own.abort(), silence);
        const { done, value } = await reader.read();
        clearTimeout(dead);
        if (done) break;
        const frames = (text + decoder.decode(value, { stream: true })).split('\n\n');
        text = frames.pop();
        if (frames.some((frame) => /^event:/m.test(frame))) changed();
      }
    } catch {
      // What follows is the same: to look whether it is there at all.
    }
    if (stream !== own) return;
    stream = null;
    how = 'asked';
    if (document.hidden) return;
    if (pause === AGAIN) look();
    else tell();
    retry = setTimeout(follow, pause);
  };

  const leave = () => {
    const own = stream;
    stream = null;
    how = 'asked';
    if (own) own.abort();
  };

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      // A browser has few connections to one agent, and the agent few for all.
      leave();
      plan(HIDDEN);
    } else {
      look();
      follow();
    }
  });
  addEventListener('pageshow', (event) => {
    if (!event.persisted) return;
    look();
    follow();
  });
  addEventListener('pagehide', leave);

  tell();
  plan(LOOK);
  follow();
})();
