//! The side of the core that tells of links: netlink, or sysfs where that can't be had.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use super::capabilities::NETLINK_REMEDY;
use crate::{
    capability::Capability,
    config::Config,
    observation::{Evidence, Observation, SourceKind},
    source::netlink,
    time::Mono,
};

type Side = (mpsc::UnboundedReceiver<Observation>, Option<Arc<netlink::Counters>>);

/// Starts telling of links: by netlink, or where that can't be had or is not wanted, by looking at sysfs once an
/// interval. Unbounded, because reader and core take turns on one thread and the kernel bounds what can wait.
pub(super) fn start(config: &Config, capabilities: &Arc<Mutex<Vec<Capability>>>) -> Side {
    let (out, receiver) = mpsc::unbounded_channel();
    let options = netlink::Options::default();
    let note = |c| put(capabilities, c);
    let interval = config.interval;
    if !config.netlink {
        note(Capability::missing(
            "netlink",
            "switched off; links are looked at once an interval",
            "set netlink = true in [devices]",
        ));
        tokio::spawn(poll_sysfs(options, interval, out));
        return (receiver, None);
    }
    match netlink::Netlink::open(&options) {
        Ok(source) => {
            note(Capability::works("netlink", "links, addresses and routes are told of as they change"));
            let counters = source.counters();
            let capabilities = Arc::clone(capabilities);
            tokio::spawn(async move {
                let emit = |o| drop(out.send(o));
                let error = source.run(emit).await;
                tracing::error!(%error, "netlink is lost; links are looked at once an interval from now on");
                put(&capabilities, without(&error));
                let gap = Observation { at: Mono::now(), evidence: Evidence::Gap(SourceKind::Netlink) };
                if out.send(gap).is_ok() {
                    poll_sysfs(options, interval, out).await;
                }
            });
            (receiver, Some(counters))
        }
        Err(error) => {
            note(without(&error));
            tokio::spawn(poll_sysfs(options, interval, out));
            (receiver, None)
        }
    }
}

/// What is so from now on, whatever was before.
fn put(capabilities: &Mutex<Vec<Capability>>, new: Capability) {
    let mut all = capabilities.lock().unwrap_or_else(PoisonError::into_inner);
    match all.iter_mut().find(|known| known.name == new.name) {
        Some(known) => *known = new,
        None => all.push(new),
    }
}

fn without(error: &netlink::NetlinkError) -> Capability {
    let detail = format!("{error}; links are looked at once an interval");
    Capability::missing("netlink", detail, NETLINK_REMEDY)
}

async fn poll_sysfs(options: netlink::Options, interval: Duration, out: mpsc::UnboundedSender<Observation>) {
    let mut poller = netlink::sysfs::Poller::new(options);
    loop {
        if let Some(observation) = poller.poll()
            && out.send(observation).is_err()
        {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}
