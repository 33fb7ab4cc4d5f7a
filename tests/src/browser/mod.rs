//! A real browser in a namespace, driven by WebDriver: Debian's Chromium, without a screen.
//!
//! The client is this small because no more is needed: a session, scripts, keys, and Chromium's own commands, all of them
//! JSON over HTTP.

mod driver;
pub mod picture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::agent::await_until;
use crate::lab::{Netns, find_program};

/// Far beyond what its start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
const PORT: u16 = 9515;
/// Chromium asks nobody but the agent, and needs neither a screen nor a sandbox for what is our own.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
];

/// A browser with one window. Ended on drop.
#[derive(Debug)]
pub struct Browser<'a> {
    netns: &'a Netns,
    driver: Child,
    log: PathBuf,
    session: String,
}

/// A key, as WebDriver has it.
pub const TAB: &str = "\u{e004}";

impl<'a> Browser<'a> {
    /// Starts one inside `netns`; its files are in `folder`, and its profile is a new one.
    ///
    /// # Errors
    /// When the programs are not there, or don't start within a minute.
    pub fn start(netns: &'a Netns, folder: &Path) -> Result<Self> {
        let install = "is not installed: apt-get install chromium chromium-driver";
        let driver = find_program("chromedriver").with_context(|| format!("chromedriver {install}"))?;
        let chromium = find_program("chromium").with_context(|| format!("chromium {install}"))?;
        let folder = folder.join("browser");
        fs::create_dir_all(&folder)?;
        let log = folder.join("driver.log");
        let child = netns
            .command(driver)
            .arg(format!("--port={PORT}"))
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .context("starting chromedriver")?;
        let mut browser = Self { netns, driver: child, log, session: String::new() };
        let ready = await_until(START, || {
            let ended = browser.driver.try_wait()?;
            ensure!(ended.is_none(), "chromedriver has ended: {}", browser.log());
            Ok(browser.ask("GET", "/status", &Value::Null).ok().filter(|status| status["ready"] == true))
        })?;
        ready.with_context(|| format!("chromedriver does not answer: {}", browser.log()))?;
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([profile.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
        }}});
        let made = browser.ask("POST", "/session", &wanted)?;
        browser.session = format!("/session/{}", made["sessionId"].as_str().context("no session")?);
        Ok(browser)
    }

    /// Goes to an address, and returns when it is loaded.
    pub fn go(&self, url: &str) -> Result<()> {
        self.command("/url", &json!({ "url": url })).map(drop)
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true of the page. While it goes to another one there is nothing to ask.
    ///
    /// # Errors
    /// When it is not within `within`; the page's text comes along.
    pub fn until(&self, within: Duration, expression: &str) -> Result<()> {
        let script = format!("return Boolean({expression})");
        let came = await_until(within, || Ok(self.run(&script).is_ok_and(|so| so == true).then_some(())))?;
        came.with_context(|| {
            let last = self.run(&script);
            let text = self.run("return document.documentElement.innerText").unwrap_or_default();
            format!("never: {expression}: {last:?}\n{}", text.as_str().unwrap_or_default())
        })
    }

    /// A command of Chromium's own protocol.
    pub fn chromium(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.command("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
            .with_context(|| command.to_owned())
    }

    /// Presses a key and lets it go.
    pub fn press(&self, key: &str) -> Result<()> {
        let steps = ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": steps}]});
        self.command("/actions", &actions).map(drop)
    }

    /// What the browser's console has been told since it was asked last: level and text.
    pub fn console(&self) -> Result<Vec<(String, String)>> {
        let told = self.command("/se/log", &json!({"type": "browser"}))?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let all = told.as_array().context("the console")?;
        Ok(all.iter().map(|line| (text(&line["level"]), text(&line["message"]))).collect())
    }

    /// How wide and high the page is, in its own pixels, and how many of the screen's make one.
    pub fn resize(&self, width: u32, height: u32, scale: f64) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false});
        self.chromium("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// Whether the reader likes dark pages.
    pub fn dark(&self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.chromium("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// The first `height` pixels of the page as PNG.
    pub fn shot(&self, width: u32, height: u32) -> Result<Vec<u8>> {
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let wanted = json!({"format": "png", "clip": clip, "captureBeyondViewport": true});
        let shot = self.chromium("Page.captureScreenshot", &wanted)?;
        Ok(BASE64.decode(shot["data"].as_str().context("no picture")?.as_bytes())?)
    }

    fn command(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = driver::ask(self.netns, PORT, method, path, body)?;
        let value = answer["value"].clone();
        if status != 200 {
            bail!("{method} {path}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Ends the browser too; what is left of it goes with the namespace.
        if !self.session.is_empty() {
            let _ = self.ask("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
