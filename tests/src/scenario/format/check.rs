//! What a file may not say though it is spelt right.

use std::path::Path;

use super::{Expectation, Fault, Scenario, StateWord, Step};

/// Where in the text, if not at the scenario's beginning, and why.
pub(super) type Objection = (Option<usize>, String);

impl Scenario {
    pub(super) fn check(&self) -> Result<(), Objection> {
        let here = |why: &str| Err((None, format!("{}: {why}", self.name)));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return here("a name is of small letters, digits and underscores");
        }
        if !(1..=2).contains(&self.world.uplinks) {
            return here("a world has one uplink or two");
        }
        if let Err(e) = netmon_agent::config::Config::parse(&self.config, Path::new("netmon.toml")) {
            return here(&format!("its configuration is wrong: {e}"));
        }
        if self.step.is_empty() {
            return here("nothing happens");
        }
        let beyond = |f: &Fault| f.uplink().is_some_and(|n| n >= self.world.uplinks);
        if self.before.iter().any(beyond) {
            return here("there is no such uplink");
        }
        let impossible =
            |step: &Step| step.suspend.is_some() || matches!(step.breaks, Some(Fault::Latency { .. }));
        let mut standing: Vec<&'static str> = self.before.iter().map(Fault::kind).collect();
        for spanned in &self.step {
            let (step, place) = (spanned.get_ref(), Some(spanned.span().start));
            let object = |why: String| Err((place, format!("{}: {why}", self.name)));
            if let Err(why) = step.check() {
                return object(why.to_owned());
            }
            if step.breaks.as_ref().is_some_and(beyond)
                || step.flap.is_some_and(|f| f.uplink >= self.world.uplinks)
            {
                return object("there is no such uplink".to_owned());
            }
            if self.virtual_only.is_none() && (impossible(step) || self.world.rtt.is_some()) {
                return object("no lab can do that: say why in `virtual_only`".to_owned());
            }
            if let Some(kind) = &step.mend {
                let before = standing.len();
                standing.retain(|k| kind != "all" && k != kind);
                if standing.len() == before {
                    return object(format!("nothing of the kind \"{kind}\" is broken"));
                }
            }
            standing.extend(step.breaks.as_ref().map(Fault::kind));
        }
        Ok(())
    }
}

impl Step {
    fn check(&self) -> Result<(), &'static str> {
        let happens = [
            self.breaks.is_some(),
            self.mend.is_some(),
            self.wait.is_some(),
            self.stop.is_some(),
            self.suspend.is_some(),
            self.flap.is_some(),
            self.upload.is_some(),
        ];
        if happens.iter().filter(|h| **h).count() > 1 {
            return Err("one thing happens in a step");
        }
        if self.stays.is_some() != self.lasts.is_some() {
            return Err("`stays` and `for` belong together");
        }
        if self.quiet && self.stays.is_none() {
            return Err("`quiet` is of `stays`");
        }
        if self.stays.is_some() && self.then.is_some() {
            return Err("`then` and `stays` are two steps");
        }
        if self.stays == Some(StateWord::Gone) || self.never.contains(&StateWord::Gone) {
            return Err("the verdict over all is never gone");
        }
        if self.flap.is_some_and(|f| !(0.05..=100.0).contains(&f.hz)) {
            return Err("`hz` is 0.05 to 100");
        }
        match &self.then {
            Some(then) => then.check(),
            None => Ok(()),
        }
    }
}

impl Expectation {
    fn check(&self) -> Result<(), &'static str> {
        if self.state == Some(StateWord::Gone) {
            return Err("the verdict over all is never gone");
        }
        if self.state.is_none()
            && self.targets.is_empty()
            && self.devices.is_empty()
            && self.reasons.is_empty()
        {
            return Err("nothing is expected");
        }
        if self.passing && (self.state.is_none() || !self.targets.is_empty() || !self.devices.is_empty()) {
            return Err("what passes is a state over all");
        }
        Ok(())
    }
}
