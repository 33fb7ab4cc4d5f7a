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
pub(super) fn start(config: &Config, capabilities: &Mutex<Vec<Capability>>) -> Side {
    let (out, receiver) = mpsc::unbounded_channel();
    let options = netlink::Options::default();
    let note = |c: Capability| capabilities.lock().unwrap_or_else(PoisonError::into_inner).push(c);
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
            tokio::spawn(async move {
                let emit = |o| drop(out.send(o));
                let error = source.run(emit).await;
                tracing::error!(%error, "netlink is lost; links are looked at once an interval from now on");
                let gap = Observation { at: Mono::now(), evidence: Evidence::Gap(SourceKind::Netlink) };
                if out.send(gap).is_ok() {
                    poll_sysfs(options, interval, out).await;
                }
            });
            (receiver, Some(counters))
        }
        Err(error) => {
            note(Capability::missing(
                "netlink",
                format!("{error}; links are looked at once an interval"),
                NETLINK_REMEDY,
            ));
            tokio::spawn(poll_sysfs(options, interval, out));
            (receiver, None)
        }
    }
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
