//! Families of what the last probe of a target told beside its round trip.

use std::time::Duration;

use super::{
    catalogue::{self, Family},
    writer::{Writer, labels},
};
use crate::{
    observation::ProbeDetail,
    state::{Snapshot, TargetView},
};

type Phase = fn(&ProbeDetail) -> Option<Duration>;

/// The phases of a probe, in their order.
const PHASES: [(&str, Phase); 3] =
    [("connect", |d| d.connect), ("tls", |d| d.tls), ("request", |d| d.request)];

pub(super) fn write(w: &mut Writer, snapshot: &Snapshot) {
    let told = snapshot.targets.iter().filter(|t| details(t).any(|d| *d != ProbeDetail::default()));
    let targets: Vec<(String, &TargetView)> =
        told.map(|t| (labels(&[("target", &t.name), ("probe", t.method)]), &**t)).collect();

    w.family(&catalogue::PROBE_PHASE);
    for target in &snapshot.targets {
        if let Some(took) = target.look_up {
            let labels = labels(&[("target", &target.name), ("probe", target.method)]);
            w.sample(&labels, &[("phase", "resolve")], took);
        }
    }
    for (labels, target) in &targets {
        for (phase, of) in PHASES {
            if let Some(worst) = details(target).filter_map(of).max() {
                w.sample(labels, &[("phase", phase)], worst);
            }
        }
    }
    status(w, &catalogue::PROBE_HTTP_STATUS, "http", &targets);
    status(w, &catalogue::PROBE_DNS_RCODE, "dns", &targets);

    w.family(&catalogue::PROBE_CERTIFICATE);
    for (labels, target) in &targets {
        if let Some(first) = details(target).filter_map(|d| d.certificate_expires).min() {
            // To the second, as certificates have it.
            w.sample(labels, &[], first.as_nanos() / 1_000_000_000);
        }
    }
}

fn status(w: &mut Writer, family: &Family, method: &str, targets: &[(String, &TargetView)]) {
    w.family(family);
    for (labels, target) in targets.iter().filter(|(_, t)| t.method == method) {
        if let Some(status) = details(target).filter_map(|d| d.status).max() {
            w.sample(labels, &[], u64::from(status));
        }
    }
}

fn details(target: &TargetView) -> impl Iterator<Item = &ProbeDetail> {
    target.addresses.iter().map(|a| &a.detail)
}
