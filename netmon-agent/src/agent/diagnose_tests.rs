//! What is told of a fault, and when, without a packet sent: looks are answered by the test.

use std::path::Path as FilePath;

use super::*;
use crate::{
    config::Config,
    diagnosis::tests::{World, neighbour, pair},
    health::Event,
    observation::{FailureReason::Timeout, Method, NeighbourState},
    source::trace::{self, End, Hop, Path, Reply},
};

struct Agent {
    world: World,
    diagnoser: Diagnoser,
    planner: Planner,
    planned: Vec<Planned>,
    /// Subject, place, and whether it came later than the change.
    told: Vec<(String, &'static str, bool)>,
}

impl Agent {
    fn new() -> Self {
        let text = ["gateway", "a", "b"].map(|name| format!("[[target]]\nhost = \"{name}\"\n")).concat();
        let text = format!("[defaults]\nauto_targets = false\n{text}");
        let config = Config::parse(&text, FilePath::new("t")).unwrap();
        let mut world = pair();
        world.events.clear();
        let mut diagnoser = Diagnoser::new(config.diagnosis);
        diagnoser.forget_others(&world.health);
        let mut planner = Planner::new(Arc::new(config), Vec::new());
        let planned = planner.plan(Mono::default(), world.health.network());
        Self { world, diagnoser, planner, planned, told: Vec::new() }
    }

    /// As the agent does after each batch of evidence.
    fn settle(&mut self) {
        let (now, health) = (self.world.moment(), &self.world.health);
        for event in std::mem::take(&mut self.world.events) {
            let Event::Changed { subject, .. } = event else { continue };
            if let Some(d) = self.diagnoser.changed(now, health, &self.planner, &subject) {
                self.told.push((subject.name().to_owned(), d.finding.place.as_str(), false));
            }
        }
        for found in self.diagnoser.step(now, health, &self.planned) {
            let event = found.into_event(1, now.boot);
            assert_eq!(event.state, event.previous);
            let place = event.diagnosis.unwrap().finding.place.as_str();
            self.told.push((event.subject.name().to_owned(), place, true));
        }
    }

    fn fail(&mut self, name: &str) {
        self.world.fail(name, Timeout);
        self.settle();
    }

    /// A look at `a` saw that the first hop is the last that answers.
    fn seen(&mut self) {
        let address: IpAddr = [192, 0, 2, 1].into();
        let timeout = Duration::from_secs(12);
        let task = task(&self.world.health, &self.planned, TargetId(1), address, timeout).unwrap();
        let reply = Reply::new([10, 0, 0, 1].into(), None, crate::observation::StampSource::Kernel, None);
        let path = Path {
            destination: address,
            method: trace::Method::Icmp,
            hops: vec![Hop { ttl: 1, sent: 1, replies: vec![reply] }],
            end: End::Silent { last: Some(1), asked: 30 },
            mtu: None,
            unmatched: 0,
        };
        let took = Duration::from_secs(9);
        let route = Ok([10, 0, 0, 2].into());
        let seen = Seen { took, route, neighbour: None, path: Ok(path), cut: false, echo: None };
        self.diagnoser.answered = Some((task, Some(seen)));
        self.settle();
    }

    fn told(&mut self) -> Vec<(String, &'static str, bool)> {
        std::mem::take(&mut self.told)
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.diagnoser.counts()[outcome as usize]
    }
}

fn told(subject: &str, place: &'static str, later: bool) -> (String, &'static str, bool) {
    (subject.to_owned(), place, later)
}

#[test]
fn a_place_comes_with_the_change_and_what_a_look_saw_after_it_to_both() {
    let mut agent = Agent::new();
    agent.fail("a");
    assert_eq!(agent.told(), [told("a", "path", false), told("network", "path", false)]);
    agent.seen();
    assert_eq!(agent.told(), [told("a", "path", true), told("network", "path", true)]);
    let whole = agent.diagnoser.known().whole.clone().unwrap().finding;
    assert_eq!((whole.target.as_deref(), whole.took), (Some("a"), Duration::from_secs(9)));
    let said = "hop 1, 10.0.0.1, is the last that answers on the way to a; the gateway 10.0.0.1 on eth0 answers, \
                the target behind it does not, others behind it do";
    assert_eq!(whole.detail, said);
    assert_eq!(agent.counted(Outcome::Located), 1);
    // Another that falls silent changes nothing about the whole.
    agent.fail("b");
    agent.world.now += 5;
    agent.settle();
    assert_eq!(agent.told(), [told("b", "path", false)]);
}

#[test]
fn a_target_that_is_well_again_has_no_place_and_no_look() {
    let mut agent = Agent::new();
    agent.fail("a");
    agent.told();
    for _ in 0..3 {
        agent.world.answer(TargetId(1), [192, 0, 2, 1].into());
    }
    agent.world.drain();
    agent.settle();
    assert_eq!((agent.told(), agent.counted(Outcome::Recovered)), (Vec::new(), 1));
    assert!(agent.diagnoser.known().targets().next().is_none() && agent.diagnoser.known().whole.is_none());
    // It recovered while it was looked at.
    agent.seen();
    assert_eq!((agent.told(), agent.counted(Outcome::Recovered)), (Vec::new(), 2));
}

#[test]
fn what_its_gateway_explains_is_not_looked_at() {
    let mut agent = Agent::new();
    for name in ["a", "b", "gateway"] {
        agent.fail(name);
    }
    let wanted = agent.diagnoser.due();
    assert!(wanted.is_some_and(|due| due > agent.world.moment().mono));
    agent.world.now += 2500;
    agent.settle();
    assert_eq!((agent.counted(Outcome::Explained), agent.diagnoser.due()), (2, None));
    assert!(agent.diagnoser.running.is_none());
    // One whose look came too late for that.
    agent.seen();
    assert_eq!(agent.counted(Outcome::Explained), 3);
    assert_eq!(agent.diagnoser.known().whole.as_ref().unwrap().finding.place, Place::Gateway);
}

#[test]
fn a_silent_gateway_turns_out_to_be_gone_and_that_is_told_once() {
    let mut agent = Agent::new();
    agent.fail("gateway");
    assert_eq!(agent.told(), [told("gateway", "gateway", false), told("network", "gateway", false)]);
    for (state, expected) in [
        (NeighbourState::Delay, vec![]),
        (
            NeighbourState::Failed,
            vec![told("gateway", "neighbour", true), told("network", "neighbour", true)],
        ),
        (NeighbourState::Incomplete, vec![]),
        (NeighbourState::Failed, vec![]),
    ] {
        agent.world.network(neighbour(state));
        agent.diagnoser.note_neighbours();
        agent.settle();
        assert_eq!(agent.told(), expected, "{state:?}");
    }
}

#[test]
fn what_was_seen_stays_while_the_target_stays_down() {
    let mut agent = Agent::new();
    agent.fail("a");
    agent.seen();
    agent.told();
    // Its verdict is given anew by the same evidence.
    let (now, subject) = (agent.world.moment(), Subject::Target("a".to_owned()));
    let again = agent.diagnoser.changed(now, &agent.world.health, &agent.planner, &subject).unwrap();
    assert!(again.finding.trace.is_some());
    assert_eq!(agent.planned[1].spec.method, Method::Icmp);
}

#[test]
fn a_look_that_ends_without_a_word_has_failed() {
    let mut agent = Agent::new();
    agent.fail("a");
    agent.told();
    let timeout = Duration::from_secs(12);
    let task =
        task(&agent.world.health, &agent.planned, TargetId(1), [192, 0, 2, 1].into(), timeout).unwrap();
    agent.diagnoser.answered = Some((task, None));
    agent.settle();
    assert_eq!((agent.told(), agent.counted(Outcome::Failed)), (Vec::new(), 1));
}
