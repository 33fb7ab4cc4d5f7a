//! Neighbour entries, asked for through rtnetlink.

use std::{collections::BTreeSet, io, time::Duration};

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAttribute, NeighbourMessage},
};
use netlink_sys::{AsyncSocket, TokioSocket};
use rtnetlink::Handle;
use tokio::runtime::{Builder, Runtime};

use crate::observation::{IfIndex, Neighbour};

use super::{decode, wire::NLM_F_DUMP_INTR};

type Connection = rtnetlink::proto::Connection<RouteNetlinkMessage, TokioSocket>;

/// As long as the other tables are waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// See `dump::ATTEMPTS`.
const ATTEMPTS: u32 = 8;

/// Asks for the neighbours on an interface. Blocks, on a runtime of its own: sending the request waits for the
/// rtnetlink lock, and no event may wait with it.
pub(super) struct NeighbourQuery {
    /// Some until dropped.
    runtime: Option<Runtime>,
    connection: Option<(Connection, Handle)>,
}

impl Drop for NeighbourQuery {
    fn drop(&mut self) {
        // A runtime must not be dropped within another, where this one as a rule is.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl NeighbourQuery {
    pub(super) fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connection = Some(connect(&runtime)?);
        Ok(Self { runtime: Some(runtime), connection })
    }

    /// The neighbours on these interfaces. Clears `consistent` if changes kept cutting through an answer.
    pub(super) fn read(
        &mut self,
        interfaces: BTreeSet<IfIndex>,
        consistent: &mut bool,
    ) -> io::Result<Vec<Neighbour>> {
        let Some(runtime) = &self.runtime else { return Ok(Vec::new()) };
        let (mut connection, handle) = match self.connection.take() {
            Some(pair) => pair,
            None => connect(runtime)?,
        };
        let ask_all = async {
            let mut all = Vec::new();
            for ifindex in interfaces {
                for attempt in 1..=ATTEMPTS {
                    let (some, whole) = ask(handle.clone(), ifindex).await?;
                    if whole || attempt == ATTEMPTS {
                        *consistent &= whole;
                        all.extend(some);
                        break;
                    }
                }
            }
            Ok(all)
        };
        let result = runtime.block_on(async {
            tokio::select! {
                result = tokio::time::timeout(ANSWER, ask_all) => {
                    result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                }
                () = &mut connection => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        });
        if result.is_ok() {
            self.connection = Some((connection, handle));
        }
        result
    }
}

/// All neighbours on an interface now, gateways or not. Blocks for as long as the kernel takes, five seconds at most; not
/// to be called where a runtime runs.
///
/// # Errors
/// Netlink can't be had, or does not answer.
pub fn neighbours_on(interface: IfIndex) -> io::Result<Vec<Neighbour>> {
    NeighbourQuery::open()?.read([interface].into(), &mut true)
}

fn connect(runtime: &Runtime) -> io::Result<(Connection, Handle)> {
    let _within = runtime.enter();
    let (mut connection, handle, _events) = rtnetlink::new_connection()?;
    // Without it kernels since 4.20 still filter by interface; before 4.4 they do not, and `ask` does.
    if let Err(error) = connection.socket_mut().socket_ref().set_netlink_get_strict_chk(true) {
        tracing::debug!(%error, "netlink requests are not checked strictly");
    }
    // NLM_F_DUMP_INTR may stand on the last message alone.
    connection.set_forward_done(true);
    Ok((connection, handle))
}

/// The neighbours on one interface, and whether the answer is consistent. `NeighbourHandle::get` would hide the
/// header that says so.
async fn ask(mut handle: Handle, ifindex: IfIndex) -> io::Result<(Vec<Neighbour>, bool)> {
    let mut message = NeighbourMessage::default();
    message.attributes.push(NeighbourAttribute::IfIndex(ifindex.0));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answer = handle.request(request).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let (mut all, mut whole, mut done) = (Vec::new(), true, false);
    while let Some(message) = answer.next().await {
        whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(n)) => {
                all.extend(decode::gateway_candidate(&n).filter(|(_, gone)| !gone).map(|(n, _)| n));
            }
            NetlinkPayload::Done(_) => done = true,
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::Overrun(_) => whole = false,
            _ => {}
        }
    }
    all.retain(|n| n.ifindex == ifindex);
    if done { Ok((all, whole)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
