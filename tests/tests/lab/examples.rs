//! What the repository shows in use, run as it lies there: unit files, shell, Python.

mod clients;
mod jobs;
mod manager;
mod units;

use std::path::{Path, PathBuf};

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("examples::python_waits_out_an_outage", clients::python),
    ("examples::curl_waits_out_an_outage", clients::curl),
    ("examples::the_agent_runs_as_its_unit_says", units::agent),
    ("examples::units_wait_for_the_network_or_are_skipped", units::jobs),
    ("examples::a_daemon_starts_with_the_network_and_again_after_its_loss", units::daemon),
    ("examples::the_service_manager_holds_the_socket_and_the_target", manager::socket_and_target),
    ("examples::an_agent_whose_probe_engine_hangs_is_begun_anew", manager::watchdog),
    ("examples::restic_backs_up_over_a_link_that_dies", jobs::restic),
    ("examples::rclone_copies_over_a_link_that_dies", jobs::rclone),
    ("examples::borg_backs_up_over_a_link_that_dies", jobs::borg),
];

/// A file of the examples.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../netmon-agent/client/examples").join(name)
}
