//! The fault lab: what runs out, is refused or goes wrong around the agent, and that it costs what it must and no more.
//! Each trial tells its figure for `docs/PROMISES.md`.
//!
//! Of the same kind, elsewhere: standstills (`tests/scenarios/agent.toml`), kills (`history`, `netmon-bench kills`), no
//! privileges (`input`, `kernel::ladder`), a full disk under the history (`history`), a wall clock that is set
//! (`netmon-guest clock`: a machine of its own has a clock of its own).

mod bpf;
mod crowds;
mod descriptors;
mod disk;
mod events;
mod hidden;
mod memory;
mod resets;

use std::time::Duration;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("faults::ten_thousand_events_through_four_kilobytes_lose_no_verdict", events::small_buffer),
    ("faults::ten_thousand_connections_where_few_files_may_be_open", descriptors::crowd),
    ("faults::without_a_descriptor_left_it_goes_on", descriptors::none_left),
    ("faults::a_full_disk_under_log_and_targets_harms_nothing_else", disk::full),
    ("faults::memory_is_bounded_under_targets_scrapes_and_waiters", memory::bounded),
    ("faults::each_hook_that_the_kernel_refuses_is_lost_alone", bpf::each_hook),
    ("faults::without_bpf_by_the_system_call_filter_it_goes_on", bpf::none),
    ("faults::maps_refused_by_the_kernel_take_bpf_alone", bpf::no_maps),
    ("faults::more_devices_than_the_map_has_rows_are_counted_as_dropped", bpf::full_map),
    ("faults::without_proc_it_goes_on", hidden::proc),
    ("faults::without_sys_it_goes_on", hidden::sys),
    ("faults::with_hidden_processes_it_goes_on", hidden::pids),
    ("faults::ten_thousand_who_wait_and_never_read", crowds::waiters),
    ("faults::scrapers_that_never_read_keep_nobody_out", crowds::scrapers),
    ("faults::answers_that_nobody_reads_take_bounded_memory", crowds::askers),
    ("faults::ten_thousand_resets_a_second_are_counted_exactly", resets::storm),
];

/// Until the first verdict, and for what is to be seen soon, on a machine that runs other trials.
const SOON: Duration = Duration::from_secs(20);
/// For what takes its time.
const LONG: Duration = Duration::from_secs(60);

/// A link that is taken away again and again is no flapping one to these trials (R12).
const STEADY: &str = "[health]\nflap_half_life = \"1s\"\nflap_suppress = 1000000\n";

/// Whether the long form was asked for, as of the scenarios.
fn is_slow() -> bool {
    std::env::var_os("NETMON_SLOW").is_some()
}
