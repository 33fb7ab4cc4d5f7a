//! The status page of the real agent in a real browser: it turns with the network without being loaded again, says when the
//! agent is lost, reads without scripts, and by everybody.

mod sound;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::{Mono, Wall};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::browser::Browser;
use netmon_tests::lab::World;
use serde_json::{Value, json};

use crate::Scenario;

pub const SCENARIOS: &[Scenario] =
    &[("page::it_turns_in_a_browser_without_being_loaded_again_and_reads_without_scripts", page)];

/// Far beyond what any step may take on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
const PAGE: &str = "http://127.0.0.1:9817/";
/// A name that would be a script, where names were not text.
const HOSTILE: &str = r#"</td><script>document.title='taken'</script>"'&lt;"#;

/// Notes when the state on the page turns, and what is said to those who listen.
const WATCH: &str = "
    window.turned = {}; window.told = []; window.same = true;
    const note = () => { turned[document.getElementById('live').dataset.state] ??= Date.now(); };
    new MutationObserver(note).observe(document.getElementById('live'), { attributes: true });
    new MutationObserver(() => told.push(document.getElementById('said').textContent))
        .observe(document.getElementById('said'), { childList: true, characterData: true, subtree: true });
    const field = document.getElementById('q');
    field.focus();
    field.value = 'half a wo';
    field.setSelectionRange(2, 4);";

fn page() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let config = configuration(start.folder());
    let mut agent = start.config(&config).start()?;
    Witness::new(&agent)?.up(LONG)?;
    let browser = Browser::start(&world.node, agent.folder())?;
    browser.go(PAGE)?;
    live(&browser, "up")?;
    names_are_text(&browser)?;
    let is_half = "q.value === 'half a wo' && q.selectionStart === 2 && document.activeElement === q";

    // The link goes and comes back.
    browser.run(WATCH)?;
    // What follows another change within a second is gathered, and a page that was just loaded has heard of one.
    thread::sleep(Duration::from_secs(2));
    let broken = Wall::now();
    world.carrier_down(0)?;
    browser.until(LONG, "live.dataset.state === 'down'")?;
    let turned = browser.run("return turned.down")?.as_f64().context("when it turned")?;
    eprintln!("from the lost carrier to the page: {:.0} ms", turned - broken.as_nanos() as f64 / 1e6);
    browser.until(LONG, "document.querySelector('h1').textContent === 'The network is down'")?;
    browser.until(LONG, "document.title.startsWith('down – ') && /carrier/.test(live.textContent)")?;
    browser.until(LONG, "told.some(text => text.startsWith('The network is down: '))")?;
    ensure!(browser.run(&format!("return {is_half}"))? == true, "focus and what was typed are lost");
    sound::is_sound(&browser)?;
    world.carrier_up(0)?;
    browser.until(LONG, "live.dataset.state !== 'down' && told.length > 1")?;
    ensure!(agent.cli_code(&["wait", "--state", "up", "--timeout", "60s"])? == 0, "{}", agent.status()?);
    live(&browser, "up")?;
    browser.until(LONG, "[...document.querySelectorAll('#past ~ table tbody tr')].length > 1")?;
    ensure!(browser.run(&format!("return same && {is_half}"))? == true, "it was loaded again");
    sound::is_sound(&browser)?;
    sound::keys_lead_through(&browser)?;
    sound::it_fits(&browser)?;
    quiet(&browser)?;

    // The agent goes and comes back.
    let socket = agent.socket.clone();
    let status = agent.stop()?;
    ensure!(status.success(), "the agent ended with {status}");
    browser.until(LONG, "link.dataset.link === 'lost' && document.title.startsWith('lost – ')")?;
    browser.until(LONG, "/No answer from the agent.*as of/.test(link.textContent)")?;
    browser.until(LONG, "told.some(text => /does not answer/.test(text))")?;
    sound::is_sound(&browser)?;
    let agent = Start::new(&world)?.at(&socket).config(&config).start()?;
    live(&browser, "up")?;
    browser.until(LONG, "told.some(text => /answers again/.test(text)) && same")?;
    // What a browser says of requests that nobody answered is no fault of the page.
    browser.console()?;

    filters(&browser)?;
    quiet(&browser)?;
    without_scripts(&browser, &agent)
}

fn configuration(folder: &std::path::Path) -> String {
    let path = folder.join("history.db").display().to_string();
    let quoted = |name: &str| toml::Value::String(name.to_owned()).to_string();
    format!(
        "[history]\npath = \"{path}\"\n[[target]]\nname = {}\nhost = \"203.0.113.10\"\nscope = {}\n",
        quoted(HOSTILE),
        quoted("<b>scope")
    )
}

/// It listens to the agent, and shows this state.
fn live(browser: &Browser<'_>, state: &str) -> Result<()> {
    browser.until(LONG, &format!("link.dataset.link === 'live' && live.dataset.state === '{state}'"))?;
    browser.until(LONG, &format!("document.title.startsWith('{state} – ')"))
}

fn names_are_text(browser: &Browser<'_>) -> Result<()> {
    let found =
        browser.run("return [...document.querySelectorAll('.targets .name')].map(n => n.textContent)")?;
    ensure!(found.as_array().is_some_and(|all| all.contains(&json!(HOSTILE))), "{found}");
    let scripts = browser.run("return document.scripts.length")?;
    ensure!(scripts == 1, "{scripts} scripts");
    Ok(())
}

/// The console has been told of no error, nor of anything that the policy forbids.
fn quiet(browser: &Browser<'_>) -> Result<()> {
    let told = browser.console()?;
    let loud: Vec<_> = told.iter().filter(|(level, _)| level == "SEVERE" || level == "WARNING").collect();
    ensure!(loud.is_empty(), "the console: {loud:?}");
    Ok(())
}

/// The form and the links ask for other targets by the address alone.
fn filters(browser: &Browser<'_>) -> Result<()> {
    let rows = "[...document.querySelectorAll('.targets tbody .name')].map(n => n.textContent)";
    browser.run("q.value = ' 8.8.8.8'; show.value = 'up'; q.form.requestSubmit()")?;
    browser.until(LONG, "location.search.includes('8.8.8.8') && link.dataset.link === 'live'")?;
    let found = browser.run(&format!("return {rows}"))?;
    ensure!(found == json!(["8.8.8.8"]), "{found}");
    let field = browser.run("return [q.value, show.value]")?;
    ensure!(field == json!(["8.8.8.8", "up"]), "{field}");
    browser.run("document.querySelector('.counts a').click()")?;
    browser.until(LONG, "show.value === 'all' && q.value === '8.8.8.8'")
}

/// Without scripts the page says the same, and loads itself anew.
fn without_scripts(browser: &Browser<'_>, agent: &Agent<'_>) -> Result<()> {
    browser.chromium("Emulation.setScriptExecutionDisabled", &json!({"value": true}))?;
    browser.go(PAGE)?;
    let first = text(browser)?;
    for words in ["The network is up", "Targets", "Devices", "Outages", HOSTILE, "loads itself anew"] {
        ensure!(first.contains(words), "without scripts there is no {words:?}: {first}");
    }
    let of = |text: &str| text.split("As of ").nth(1).and_then(|rest| rest.get(..8)).map(str::to_owned);
    let (begun, before) = (Mono::now(), of(&first));
    ensure!(before.is_some(), "{first}");
    let reloaded = await_until(LONG, || {
        thread::sleep(Duration::from_millis(500));
        Ok(text(browser).is_ok_and(|now| of(&now).is_some() && of(&now) != before).then_some(()))
    })?;
    reloaded.context("without scripts it is not loaded anew")?;
    eprintln!("without scripts it was loaded anew after {:.1} s", Mono::now().since(begun).as_secs_f64());
    let asked = agent.get("/?state=down")?;
    ensure!(asked.status == 200 && asked.body.contains("No target is so"), "{}", asked.body);
    ensure!(agent.get("/?state=fine")?.status == 400);
    Ok(())
}

/// All that is told of the page to who does not see it.
fn text(browser: &Browser<'_>) -> Result<String> {
    let tree = browser.chromium("Accessibility.getFullAXTree", &json!({}))?;
    let nodes = tree["nodes"].as_array().context("nodes")?;
    let name = |node: &Value| node["name"]["value"].as_str().map(str::to_owned);
    Ok(nodes.iter().filter_map(name).collect::<Vec<_>>().join("\n"))
}
