//! A look at a target that has a fault: its route, its neighbour, a trace. It blocks, on a thread of its own that lives
//! as long as it does.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    diagnosis::{Refusal, Seen, Task},
    observation::{IfIndex, NeighbourState},
    source::{
        netlink,
        trace::{self, Choice, Options, Path, TraceError},
    },
    time::Mono,
};

/// Kept back of a look's time for the question whether the host answers echo requests.
const ECHO: Duration = Duration::from_secs(3);

/// Shorter than by hand: on the way to what is down most hops keep silent.
const TRACE: Options =
    Options { method: Choice::Any, max_hops: 30, probes: 2, timeout: Duration::from_millis(800), mtu: true };

/// Begins a look. Its answer comes to the receiver; one that ended without is a look that failed.
///
/// # Errors
/// No thread can be had.
pub(super) fn begin(task: Task) -> io::Result<oneshot::Receiver<Seen>> {
    let (done, answer) = oneshot::channel();
    thread::Builder::new().name("diagnosis".to_owned()).spawn(move || {
        // The agent may be ending meanwhile.
        let _ = done.send(look(&task));
    })?;
    Ok(answer)
}

fn look(task: &Task) -> Seen {
    let begun = Mono::now();
    let route = trace::source_to(&task.path, task.address).map_err(|e| Refusal::of_route(&e));
    let limit = task.timeout.saturating_sub(ECHO).max(task.timeout / 2);
    let options = Options { method: task.choice(), ..TRACE };
    let path = run(task, &options, limit);
    let cut = Mono::now().since(begun) >= limit;
    let left = task.timeout.saturating_sub(Mono::now().since(begun));
    let lost = path.as_ref().is_ok_and(|path| !path.reached() && path.method != trace::Method::Icmp);
    let echo = lost.then(|| {
        let options = Options { method: Choice::Only(trace::Method::Icmp), probes: 1, mtu: false, ..TRACE };
        run(task, &options, left).is_ok_and(|path| path.reached())
    });
    // Only now: whoever was asked for on the link has answered for its address by this time, or has not.
    let neighbour = task.on_link.as_ref().and_then(|(link, _)| neighbour(*link, task.address));
    Seen { took: Mono::now().since(begun), route, neighbour, path, cut, echo }
}

fn run(task: &Task, options: &Options, limit: Duration) -> Result<Path, Refusal> {
    let to = SocketAddr::new(task.address, 0);
    let on_progress = |_| ControlFlow::Continue(());
    trace::run_along(options, &task.path, Some(limit), to, on_progress).map_err(|e| match e {
        TraceError::Send { source, .. } => Refusal::of(&source),
        TraceError::Socket { source } => match Refusal::of(&source) {
            // No socket, for want of a privilege: nobody forbids the packets.
            Refusal::Forbidden => Refusal::Other(source.to_string()),
            other => other,
        },
        e => Refusal::Other(e.to_string()),
    })
}

fn neighbour(link: IfIndex, address: IpAddr) -> Option<NeighbourState> {
    match netlink::neighbours_on(link) {
        Ok(all) => all.into_iter().find(|n| n.address == address).map(|n| n.state),
        Err(error) => {
            tracing::debug!(%error, "neighbours can't be read");
            None
        }
    }
}
