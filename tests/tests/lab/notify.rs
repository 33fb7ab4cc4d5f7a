//! Who is told of an outage: a command and a receiver beside the real agent.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Start, Witness, await_until};
use netmon_tests::lab::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[("notify::an_outage_is_told_by_command_and_webhook", outage)];

const LONG: Duration = Duration::from_secs(30);

/// Writes each body as a line, and its signature's time with it.
const RECEIVER: &str = r"
import hashlib, hmac, http.server, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        stamp, given = (part.split('=')[1] for part in self.headers['netmon-signature'].split(','))
        made = hmac.new(b's3cr3t', stamp.encode() + b'.' + body, hashlib.sha256).hexdigest()
        good = hmac.compare_digest(made, given)
        self.send_response(204 if good else 403)
        self.end_headers()
        if good:
            with open(sys.argv[1], 'ab') as out:
                out.write(body + b'\n')
    def log_message(self, *_):
        pass
http.server.HTTPServer(('127.0.0.1', 8099), Receiver).serve_forever()
";

fn outage() -> Result<()> {
    let world = World::new()?;
    let folder = world.node.folder()?;
    let (ran, sent, secret) = (folder.join("ran"), folder.join("sent"), folder.join("secret"));
    fs::write(&secret, "s3cr3t\n")?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut receiver =
        world.node.command("python3").args(["-c", RECEIVER]).arg(&sent).stdin(Stdio::null()).spawn()?;
    let config = format!(
        "[[notify.command]]\nname = \"hook\"\nafter = \"200ms\"\ncommand = [\"sh\", \"-c\", \"cat >>{}\"]\n\
         [[notify.webhook]]\nname = \"web\"\nurl = \"http://127.0.0.1:8099/\"\ninsecure = true\nallow_private = true\n\
         secret_file = \"{}\"\nafter = \"200ms\"\n",
        ran.display(),
        secret.display()
    );
    let agent = Start::new(&world)?.config(&config).start()?;
    let told = |file: &Path| -> Result<Vec<Value>> {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).context(l.to_owned())).collect()
    };
    let both = |count: usize| -> Result<()> {
        let there = await_until(LONG, || {
            Ok((told(&ran)?.len() >= count && told(&sent)?.len() >= count).then_some(()))
        })?;
        there.with_context(|| format!("not told: {:?} {:?}", told(&ran), told(&sent)))
    };
    let result = (|| {
        Witness::new(&agent)?.up(LONG)?;
        both(1)?;
        world.carrier_down(0)?;
        // The receiver is near: it is told while the network is down.
        both(2)?;
        world.carrier_up(0)?;
        let back =
            |file: &Path| Ok(told(file)?.len() > 2 && told(file)?.last().is_some_and(|n| n["state"] == "up"));
        let there = await_until(LONG, || {
            let both: Result<bool> = back(&ran).and_then(|ran| Ok(ran && back(&sent)?));
            Ok(both?.then_some(()))
        })?;
        there.with_context(|| format!("its end was not told: {:?} {:?}", told(&ran), told(&sent)))?;
        for file in [&ran, &sent] {
            // It may be degraded on its way up, for long enough to be told.
            let all = told(file)?;
            let states: Vec<&Value> = all.iter().map(|n| &n["state"]).collect();
            ensure!(
                (states[0], states[1]) == (&"up".into(), &"down".into()),
                "{}: {states:?}",
                file.display()
            );
            let before: Vec<&Value> = all.iter().skip(1).map(|n| &n["previous"]).collect();
            ensure!(all[0]["previous"] == "unknown" && before == states[..states.len() - 1], "{all:?}");
        }
        let down = &told(&sent)?[1];
        ensure!(down["reasons"][0]["code"] == "no_carrier" && down["version"] == 1, "{down}");
        let metrics = agent.metrics()?;
        for (notifier, file) in [("hook", &ran), ("web", &sent)] {
            let delivered = [("notifier", notifier), ("result", "delivered")];
            let counted = metrics.value("netmon_notifications_total", &delivered);
            ensure!(counted == Some(told(file)?.len() as f64), "{notifier}: {counted:?}");
        }
        Ok(())
    })();
    let _ = kill(Pid::from_raw(receiver.id() as i32), Signal::SIGKILL);
    receiver.wait()?;
    result
}
