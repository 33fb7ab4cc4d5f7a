//! Histories in which the core or the oracle once was wrong, as short as they get; more of what the core did wrong is
//! beside, as tests of its own.

use super::*;
use step::FateAct;
use tell::{AddressAct, LinkAct};

#[test]
fn a_target_probed_otherwise_is_told_of_as_unknown() {
    replay(34, &[Step::Targets(254, 0), Step::Resolved(15), Step::Run(9), Step::Targets(298, 2)]);
}

#[test]
fn a_gap_before_the_first_dump() {
    replay(1, &[Step::Gap, Step::Run(100), Step::Dump, Step::Gap, Step::Gap, Step::Dump]);
}

#[test]
fn what_is_told_in_a_gap_waits() {
    let gap = [Step::Gap, Step::Routes(0, false), Step::Link(0, LinkAct::Gone), Step::Run(3000), Step::Dump];
    replay(2, &[&[Step::Targets(15, 0), Step::Dump, Step::Run(500)], &gap[..]].concat());
}

#[test]
fn a_device_watched_again_is_to_be_published() {
    replay(653, &[Step::Dump, Step::Configure(6), Step::Configure(3)]);
}

#[test]
fn a_suspend_without_targets_is_over_at_once() {
    replay(1628, &[Step::Dump, Step::Suspend(36_017), Step::Gap]);
}

#[test]
fn a_gateway_known_by_its_neighbour_begins_to_answer() {
    let address = [AddressAct::Removed, AddressAct::LinkLocal].map(|act| Step::Address(0, act));
    let end = [Step::Neighbour(0, 1), Step::Run(6)];
    replay(8784, &[&[Step::Targets(15, 0), Step::Dump], &address[..], &end].concat());
}

#[test]
fn a_burst_that_is_lost_is_made_up_for() {
    let silent = [Step::Targets(494, 0), Step::Resolved(12), Step::Run(6), Step::Fate(255, FateAct::Silent)];
    let moved = [Step::Dump, Step::Resolved(1), Step::Resolved(12), Step::Run(665), Step::Lost(true)];
    replay(38_577, &[&silent[..], &moved, &[Step::Run(6768)]].concat());
}

#[test]
fn a_freeze_is_no_time_to_come_back_in() {
    let silent = [Step::Targets(504, 0), Step::Fate(255, FateAct::Silent), Step::Run(5010)];
    let frozen = [Step::Freeze(2533), Step::Fate(255, FateAct::Answers), Step::Freeze(2941), Step::Run(153)];
    replay(5953, &[&silent[..], &frozen].concat());
}

#[test]
fn a_port_carries_nothing_itself() {
    let under = [LinkAct::Port(true), LinkAct::Carrier(false), LinkAct::Port(false), LinkAct::Carrier(true)];
    let steps = under.map(|act| [Step::Link(0, act), Step::Run(900)]).concat();
    replay(1, &[&[Step::Targets(15, 0), Step::Dump, Step::Run(500)], &steps[..]].concat());
}

#[test]
fn a_bridge_is_as_well_as_its_ports() {
    let bridge = [LinkAct::Made, LinkAct::Bridge(true)].map(|act| Step::Link(2, act));
    let ports = [Step::Link(0, LinkAct::Under(true)), Step::Link(1, LinkAct::Under(true))];
    let ways = [Step::Address(2, AddressAct::Added), Step::Routes(0b00011 << 10, false), Step::Run(4000)];
    let lost = [0, 1].map(|slot| [Step::Link(slot, LinkAct::Carrier(false)), Step::Run(900)]).concat();
    let back = [0, 1].map(|slot| [Step::Link(slot, LinkAct::Carrier(true)), Step::Run(900)]).concat();
    let begin = [Step::Targets(14, 0), Step::Dump];
    replay(1, &[&begin[..], &bridge, &ports, &ways, &lost, &back].concat());
}

#[test]
fn an_uplink_is_missed_for_ten_minutes_if_its_link_is_sound() {
    let lost = [Step::Routes(0b00011_00000, false), Step::Run(599_000), Step::Run(2000)];
    let down =
        [Step::Routes(0b00011_00011, false), Step::Link(0, LinkAct::Carrier(false)), Step::Run(601_000)];
    replay(1, &[&[Step::Dump], &lost[..], &down, &[Step::Link(0, LinkAct::Carrier(true))]].concat());
}

#[test]
fn what_is_missed_is_forgotten_though_nothing_carries_its_family() {
    let missed = [Step::Routes(0b00100_00011, false), Step::Routes(0b00111_00011, false)];
    let gone = [Step::Link(0, LinkAct::Carrier(false)), Step::Run(1000), Step::Routes(0b00100_00000, false)];
    let back = [Step::Link(0, LinkAct::Carrier(true)), Step::Run(601_000)];
    replay(1, &[&[Step::Dump], &missed[..], &gone, &back].concat());
}

#[test]
fn a_name_that_nobody_can_be_asked_for_is_explained_in_a_gap_too() {
    let cut = [Step::Link(0, LinkAct::Carrier(false)), Step::Link(1, LinkAct::Carrier(false))];
    let end = [Step::ResolveFailed, Step::Gap, Step::ResolveFailed];
    replay(1, &[&[Step::Targets(8, 0), Step::Dump], &cut[..], &end].concat());
}

#[test]
fn a_report_that_is_not_taken_is_no_verdict() {
    replay_without_links(640_443, &[Step::Report(1, 4, 2758)]);
}

#[test]
fn the_whole_tells_what_else_a_flapping_device_suffers_from() {
    let lost = [Step::Link(0, LinkAct::Carrier(false)), Step::Link(0, LinkAct::Carrier(true))];
    let begin = [&[Step::Dump], &lost[..], &lost, &[Step::Reading(0, 298, 84, false, true)]].concat();
    let end = [lost[0], Step::Run(2226), lost[1], Step::Reading(0, 1455, 44, false, true)];
    replay(203_494, &[&begin[..], &end].concat());
}

#[test]
fn a_burst_is_made_up_for_when_its_route_is_read_anew() {
    let unrouted = [Step::Targets(15, 0), Step::Dump, Step::Routes(0, false), Step::Run(405)];
    let back_in_a_gap = [Step::Gap, Step::Routes(99, false), Step::Run(7147)];
    let silent = [Step::Fate(255, FateAct::Silent), Step::Run(1185), Step::Dump, Step::Run(6783)];
    replay(507_905, &[&unrouted[..], &back_in_a_gap, &silent].concat());
}
