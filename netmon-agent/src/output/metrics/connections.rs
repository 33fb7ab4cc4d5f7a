//! Connections that programs report: as many series as the registry has room for, and no longer than it has them.

use std::sync::Arc;

use netmon_client::wire::ConnectionState;

use super::{
    WallOffset, catalogue,
    writer::{Writer, labels},
};
use crate::output::api::Reported;

pub(super) fn write(w: &mut Writer, all: &[Arc<Reported>], walls: WallOffset) {
    let labelled: Vec<(String, &Reported)> =
        all.iter().map(|r| (labels(&[("client", &r.label), ("connection", &r.name)]), &**r)).collect();
    w.family(&catalogue::CLIENT_STATE);
    for (labels, reported) in &labelled {
        for state in ConnectionState::ALL {
            w.sample(labels, &[("state", state.as_str())], reported.state == state);
        }
    }
    w.family(&catalogue::CLIENT_CHANGED);
    for (labels, reported) in &labelled {
        w.sample(labels, &[], walls.unix_seconds(reported.since));
    }
    w.family(&catalogue::CLIENT_RECONNECTS);
    for (labels, reported) in &labelled {
        w.sample(labels, &[], reported.reconnects);
    }
    w.family(&catalogue::CLIENT_UPTIME);
    for (labels, reported) in &labelled {
        if let Some(ratio) = reported.uptime_ratio {
            w.sample(labels, &[], ratio);
        }
    }
}
