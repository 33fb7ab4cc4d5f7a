//! What comes from outside: signals, and news of the network.

use std::time::Duration;

use netmon_client::{
    State,
    retry::{GaveUp, Network},
};
use nix::sys::signal::Signal;

use super::{Cancel, Driver};
use crate::cli::{
    retry::{args::OnDown, attempt::Ending, network::News, terminal::stand_still},
    text,
};

impl Driver<'_> {
    pub(super) fn heed_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                // The attempt is looked at in any case.
                Signal::SIGCHLD => {}
                Signal::SIGCONT => self.go_on(),
                Signal::SIGTSTP => match &self.attempt {
                    Some(attempt) if attempt.paused.is_none() => attempt.group().signal(signal),
                    // Nothing runs, or stands still already.
                    _ => {
                        self.teller.clear();
                        stand_still();
                    }
                },
                Signal::SIGUSR1 | Signal::SIGUSR2 => {
                    if let Some(attempt) = &self.attempt {
                        attempt.group().signal(signal);
                    }
                }
                ending => self.cancel(ending),
            }
        }
    }

    /// Somebody wants us to end. What runs gets the signal and decides itself; nothing is started any more.
    fn cancel(&mut self, signal: Signal) {
        let idle = self.attempt.is_none() && self.settling.is_none();
        self.cancelled = Some(Cancel { signal, idle });
        let now = self.now();
        if let Some(attempt) = &mut self.attempt {
            attempt.signal(now, signal);
        }
        if idle {
            self.engine.give_up(now, GaveUp::Cancelled);
        }
    }

    pub(super) fn heed_news(&mut self) {
        for news in self.watcher.read() {
            let now = self.now();
            let (state, why) = match news {
                News::State(state, reasons) => {
                    if std::mem::take(&mut self.known.lost) {
                        self.teller.say("agent_back", |line| line.with("state", state.as_str()));
                    }
                    self.known.met = true;
                    let at_work = self.attempt.is_some() || self.settling.is_some();
                    self.known.judged |= state != State::Unknown || at_work;
                    (state, text::reasons(&reasons))
                }
                News::Lost(why) => {
                    if !std::mem::replace(&mut self.known.lost, true) && self.known.met {
                        self.teller.say("agent_lost", |line| line.with("why", text::printable(&why)));
                    }
                    (State::Unknown, String::new())
                }
            };
            let network = self.settings.subject.network(state);
            if network != self.known.network {
                self.known.since = now;
            }
            (self.known.state, self.known.network, self.known.why) = (state, network, why);
            self.engine.network(now, self.known.for_engine());
            if network == Network::Unusable {
                self.outage(now);
            }
        }
    }

    /// An outage, whatever is at hand.
    fn outage(&mut self, now: Duration) {
        if let Some(settling) = &mut self.settling {
            settling.outage = true;
        }
        let Some(attempt) = &mut self.attempt else { return };
        attempt.outage = true;
        if !attempt.is_running() || attempt.paused.is_some() || self.cancelled.is_some() {
            return;
        }
        match self.settings.on_down {
            OnDown::Run => {}
            OnDown::Pause => self.pause(now),
            OnDown::Restart => attempt.end(now, Ending::Restart),
        }
    }
}
