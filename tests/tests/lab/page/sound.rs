//! Whether the page can be read by everybody: names and roles in the accessibility tree, contrast, keys, narrow screens.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::browser::{Browser, TAB};
use serde_json::{Value, json};

const DESKTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (360, 740);

/// What must have a name to be of use.
const NAMED: [&str; 15] = [
    "button",
    "combobox",
    "searchbox",
    "textbox",
    "link",
    "table",
    "navigation",
    "search",
    "region",
    "image",
    "heading",
    "list",
    "columnheader",
    "rowheader",
    "img",
];

/// The contrast of each text with what is behind it (WCAG 2, 1.4.3); those below 4.5, and the least.
const CONTRAST: &str = "
    const channels = (text) => {
        const n = text.match(/[\\d.]+/g).map(Number);
        return { rgb: n.slice(0, 3), a: n[3] ?? 1 };
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = channels(getComputedStyle(e).backgroundColor);
            if (colour.a === 1) return colour.rgb;
            if (colour.a > 0) throw new Error('half transparent: ' + e.outerHTML.slice(0, 80));
        }
        throw new Error('the page has no background');
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let least = 99, seen = 0;
    const weak = new Set();
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const told = walker.currentNode.data.trim();
        const style = getComputedStyle(element);
        if (!told || !element.checkVisibility() || element.closest('.unseen, svg, script, style, noscript, option')) continue;
        for (let e = element; e; e = e.parentElement) {
            if (getComputedStyle(e).opacity !== '1') throw new Error('not opaque: ' + e.outerHTML.slice(0, 80));
        }
        const [a, b] = [light(channels(style.color).rgb), light(behind(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        seen += 1;
        least = Math.min(least, ratio);
        if (ratio < 4.5) weak.add(ratio.toFixed(2) + ' ' + told.slice(0, 40) + ' .' + element.className);
    }
    return { least, seen, weak: [...weak] };";

/// In both schemes every text stands out, and everything has a name and a role, on a wide screen and on a narrow one.
pub fn is_sound(browser: &Browser<'_>) -> Result<()> {
    for dark in [false, true] {
        browser.dark(dark)?;
        let found = browser.run(CONTRAST)?;
        let (least, seen) =
            (found["least"].as_f64().unwrap_or_default(), found["seen"].as_u64().unwrap_or_default());
        ensure!(found["weak"] == json!([]) && seen > 30, "dark: {dark}: {found}");
        eprintln!("least contrast of {seen} texts, dark: {dark}: {least:.2}");
    }
    let background = |dark| -> Result<Value> {
        browser.dark(dark)?;
        browser.run("return getComputedStyle(document.body).backgroundColor")
    };
    ensure!(background(true)? != background(false)?, "there is no dark scheme");
    let wide = has_names(browser, DESKTOP)?;
    let narrow = has_names(browser, PHONE)?;
    browser.resize(DESKTOP.0, DESKTOP.1, 1.0)?;
    // Tables are laid out as cards there, and are tables still. How many rows there are may change meanwhile.
    for role in wide
        .keys()
        .filter(|role| ["table", "row", "cell", "rowheader", "columnheader"].contains(&role.as_str()))
    {
        ensure!(narrow.contains_key(role), "on a phone there is no {role}: {narrow:?}");
    }
    Ok(())
}

/// Everything that needs a name has one; how many there are of each role.
fn has_names(browser: &Browser<'_>, (width, height): (u32, u32)) -> Result<BTreeMap<String, usize>> {
    browser.resize(width, height, 1.0)?;
    let tree = browser.chromium("Accessibility.getFullAXTree", &json!({}))?;
    let nodes = tree["nodes"].as_array().context("nodes")?;
    let mut roles: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node["ignored"] != true) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let name = node["name"]["value"].as_str().unwrap_or_default();
        ensure!(
            !(NAMED.contains(&role) && name.trim().is_empty() && role != "list"),
            "a {role} without a name: {node}"
        );
        *roles.entry(role.to_owned()).or_default() += 1;
    }
    for role in
        ["banner", "main", "contentinfo", "search", "navigation", "table", "status", "heading", "image"]
    {
        // Of drawings the protocol has an older word, too.
        let found = roles.contains_key(role) || role == "image" && roles.contains_key("img");
        ensure!(found, "{width} wide there is no {role}: {roles:?}");
    }
    Ok(roles)
}

/// What the tabulator stops at.
const STOPS: &str = "[...document.querySelectorAll('a[href], input, select, button, summary')]
    .filter((e) => e.checkVisibility() && !e.closest('noscript'))";

/// The tabulator leads through all there is, in its order, and what has the focus shows it.
pub fn keys_lead_through(browser: &Browser<'_>) -> Result<()> {
    // The page lives: where there is more or less of it afterwards, this says nothing.
    for _ in 0..10 {
        if let Some(led) = lead(browser)? {
            return ensure_all(&led);
        }
    }
    bail!("the page does not stay the same for as long as it takes to go through it")
}

fn ensure_all(led: &Value) -> Result<()> {
    ensure!(*led == json!([true, true, "skip", true]), "{led}");
    Ok(())
}

/// Presses it as often as there is something to stop at: whether each was visited once, in order, which was the first, and
/// whether search and choice were among them. None where the page has changed meanwhile.
fn lead(browser: &Browser<'_>) -> Result<Option<Value>> {
    browser.run(&format!(
        "document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex');
         window.order = []; window.stops = {STOPS};"
    ))?;
    let all = browser.run("return stops.length")?.as_u64().context("how many there are")?;
    for _ in 0..all {
        browser.press(TAB)?;
        let shows = browser.run(
            "const e = document.activeElement, style = getComputedStyle(e);
             order.push(e);
             return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
                || 'no outline: ' + e.outerHTML.slice(0, 120);",
        )?;
        ensure!(shows == true, "{shows}");
    }
    let led = browser.run(&format!(
        "const now = {STOPS};
         if (now.length !== stops.length || !now.every((e, i) => e === stops[i])) return null;
         const follows = (a, b) => Boolean(a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING);
         return [new Set(order).size === stops.length, order.every((e, i) => i === 0 || follows(order[i - 1], e)),
            order[0].className, order.includes(q) && order.includes(show)];"
    ))?;
    Ok(Some(led).filter(|led| !led.is_null()))
}

/// On a phone, and twice as large as usual, nothing has to be scrolled sideways.
pub fn it_fits(browser: &Browser<'_>) -> Result<()> {
    for (width, height, scale) in
        [(PHONE.0, PHONE.1, 3.0), (DESKTOP.0 / 2, DESKTOP.1 / 2, 2.0), (DESKTOP.0, DESKTOP.1, 1.0)]
    {
        browser.resize(width, height, scale)?;
        let wider = browser.run(
            "return [...document.querySelectorAll('body *')]
                .filter(e => e.checkVisibility() && !e.closest('.unseen, .none, thead') && e.getBoundingClientRect().right > innerWidth + 1)
                .map(e => e.outerHTML.slice(0, 100))
                .concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : [])",
        )?;
        ensure!(wider == json!([]), "{width} wide: {wider}");
    }
    Ok(())
}
