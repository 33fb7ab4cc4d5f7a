//! `PUT` and `DELETE /v1/targets/NAME`: targets are added and removed while the agent runs, by those who may. `GET
//! /v1/targets` tells which were.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Extension, Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
    routing::{MethodRouter, put},
};
use netmon_client::wire::{AddedTarget, AddedTargets, TargetChange, TargetChanged};
use nix::unistd::{Group, geteuid};
use serde_json::{Map, Value};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    App,
    held::SomeRoom,
    reply,
    server::{Groups, Peer},
    socket::GROUP,
};
use crate::added::{Added, Change, Refusal};

/// Largest body, bytes: every key of a target with long lists takes a tenth.
const MAX_BODY: usize = 16 << 10;
/// What it may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks whether a change is to be seen, and the pause between two: four seconds in all, where the core does not answer at all.
const LOOKS: u32 = 15;
const PAUSE: Duration = Duration::from_millis(20);

/// Changes the targets, one wish after the other: a disk may take seconds, and those who wait for it are to take no thread
/// each.
#[derive(Debug)]
pub(super) struct Keeper {
    added: Added,
    turn: Mutex<()>,
}

/// What is wrong, with its status.
type Fault = (StatusCode, String);
type Name = Result<Path<String>, PathRejection>;
/// There over the Unix socket only.
type Member = Option<Extension<Groups>>;

impl Keeper {
    pub(super) fn new(added: Added) -> Self {
        Self { added, turn: Mutex::default() }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Added) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Fault> {
        let _turn = self.turn.lock().await;
        let added = self.added.clone();
        let done = spawn_blocking(move || work(&added)).await;
        done.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the targets could not be changed".to_owned()))?
            .map_err(|refusal| (status(&refusal), refusal.to_string()))
    }
}

pub(super) fn route() -> MethodRouter<Arc<App>> {
    put(add).delete(remove).fallback(async || {
        let said = "a target is added by PUT and removed by DELETE; GET /v1/targets has those that were added, and GET /v1/status all";
        reply::error(StatusCode::METHOD_NOT_ALLOWED, said)
    })
}

/// Those that were added. Whoever may open the socket may know: `/v1/status` tells more.
pub(super) async fn all(State(app): State<Arc<App>>, _: SomeRoom, member: Member) -> Response {
    let told = async {
        local(member.as_ref())?;
        let of = |(name, entry): (String, crate::added::Entry)| AddedTarget {
            name,
            persist: entry.persist,
            keys: entry.keys,
        };
        // In turn: a change holds them while it waits for a disk, and no thread of the server's is to wait with it.
        let all = keeper(&app)?.work(|added| Ok(added.all())).await?;
        Ok::<_, Fault>(AddedTargets { targets: all.into_iter().map(of).collect() })
    };
    match told.await {
        Ok(all) => reply::json(StatusCode::OK, &all),
        Err((status, said)) => reply::error(status, &said),
    }
}

async fn add(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    member: Member,
    name: Name,
    request: Request,
) -> Response {
    let done = async {
        let (keeper, name) = (keeper(&app)?, allowed(peer, member.as_ref(), name)?);
        let (keys, persist) = read(request.into_body()).await?;
        let wanted = name.clone();
        let change = keeper.work(move |added| added.put(&wanted, keys, persist)).await?;
        let change = match change {
            Change::Added => TargetChange::Added,
            Change::Changed => TargetChange::Changed,
            Change::Unchanged => TargetChange::Unchanged,
        };
        Ok(TargetChanged { name, change })
    };
    answer(&app, peer, done.await).await
}

async fn remove(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    member: Member,
    name: Name,
) -> Response {
    let done = async {
        let (keeper, name) = (keeper(&app)?, allowed(peer, member.as_ref(), name)?);
        let wanted = name.clone();
        keeper.work(move |added| added.remove(&wanted)).await?;
        Ok(TargetChanged { name, change: TargetChange::Removed })
    };
    answer(&app, peer, done.await).await
}

async fn answer(app: &App, peer: Peer, done: Result<TargetChanged, Fault>) -> Response {
    let changed = match done {
        Ok(changed) => changed,
        Err((status, said)) => return reply::error(status, &said),
    };
    if changed.change != TargetChange::Unchanged {
        let (change, target) = (format!("{:?}", changed.change).to_lowercase(), &changed.name);
        match peer {
            Peer::Unix { uid, pid } => tracing::info!(uid, pid, "target {target:?} {change} over the socket"),
            Peer::Tcp(_) => {}
        }
        until_seen(app, &changed).await;
    }
    reply::json(StatusCode::OK, &changed)
}

/// Whoever is told that it is done finds it done. But a core that is late, or has a hundred thousand targets to look
/// through, holds nobody up for long.
async fn until_seen(app: &App, changed: &TargetChanged) {
    let is_there = changed.change != TargetChange::Removed;
    for _ in 0..LOOKS {
        app.refresher.anew().await;
        let snapshot = app.board.snapshot();
        if !app.refresher.has_core() || snapshot.targets.iter().any(|t| *t.name == *changed.name) == is_there
        {
            return;
        }
        sleep(PAUSE).await;
    }
}

fn keeper(app: &App) -> Result<&Keeper, Fault> {
    let none = || (StatusCode::NOT_FOUND, "no targets can be added to this server".to_owned());
    app.added.as_ref().ok_or_else(none)
}

fn local(member: Option<&Extension<Groups>>) -> Result<&Groups, Fault> {
    let said = "targets are added and removed over the Unix socket only";
    member.map(|Extension(groups)| groups).ok_or_else(|| (StatusCode::FORBIDDEN, said.to_owned()))
}

/// The name, if who asks may change it.
fn allowed(peer: Peer, member: Option<&Extension<Groups>>, name: Name) -> Result<String, Fault> {
    let groups = local(member)?;
    let group = || Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
    if !may(peer, geteuid().as_raw(), &groups.0, group) {
        let said = format!(
            "targets are changed by root, the agent's own user and members of the group {GROUP} only: `usermod -aG {GROUP} USER`, and log in anew"
        );
        return Err((StatusCode::FORBIDDEN, said));
    }
    let Path(name) = name.map_err(|e| (StatusCode::BAD_REQUEST, e.body_text()))?;
    Ok(name)
}

/// Whether somebody of these groups may change targets; `group` is who may, where there is such a group.
fn may(peer: Peer, own: u32, groups: &[u32], group: impl FnOnce() -> Option<u32>) -> bool {
    match peer {
        Peer::Unix { uid, .. } if uid == 0 || uid == own => true,
        Peer::Unix { .. } => group().is_some_and(|group| groups.contains(&group)),
        Peer::Tcp(_) => false,
    }
}

async fn read(body: Body) -> Result<(Map<String, Value>, bool), Fault> {
    let bytes = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let said = format!("the body could not be read, or has more than {MAX_BODY} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, said));
        }
        Err(_) => {
            let said = format!("the body took more than {} s to come", BODY_TIMEOUT.as_secs());
            return Err((StatusCode::REQUEST_TIMEOUT, said));
        }
    };
    parse(&bytes).map_err(|said| (StatusCode::BAD_REQUEST, said))
}

/// The keys of the target, and whether it is to be kept.
fn parse(body: &[u8]) -> Result<(Map<String, Value>, bool), String> {
    let like = r#"it reads like {"host":"192.0.2.1","probe":"tcp","port":443,"persist":true}"#;
    let body: Value =
        serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}; {like}"))?;
    let Value::Object(mut keys) = body else { return Err(format!("the body is no object; {like}")) };
    match keys.remove("persist") {
        None => Ok((keys, false)),
        Some(Value::Bool(persist)) => Ok((keys, persist)),
        Some(other) => Err(format!("persist: {other} is neither true nor false")),
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Bad(_) => StatusCode::BAD_REQUEST,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Configured(_)
        | Refusal::Found(_)
        | Refusal::Full
        | Refusal::TooFast { .. }
        | Refusal::NotKept(_) => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn root_the_agents_user_and_the_group_may_and_nobody_else() {
        let of = |uid, groups: &[u32], group| may(Peer::Unix { uid, pid: None }, 7, groups, || group);
        assert!(of(0, &[], None) && of(7, &[], None));
        assert!(of(1000, &[1000, 42], Some(42)));
        assert!(!of(1000, &[1000, 42], Some(43)) && !of(1000, &[1000, 42], None) && !of(1000, &[], Some(42)));
        assert!(!may(Peer::Tcp(Ipv4Addr::LOCALHOST.into()), 7, &[42], || Some(42)));
    }

    #[test]
    fn a_body_is_keys_and_whether_they_are_kept() {
        let (keys, persist) = parse(br#"{"host":"h","persist":true}"#).unwrap();
        assert_eq!((keys.len(), persist), (1, true));
        assert!(!parse(br#"{"host":"h"}"#).unwrap().1);
        for (body, words) in [
            ("", "no JSON"),
            ("[]", "no object"),
            (r#"{"host":"h","persist":1}"#, "persist: 1 is neither"),
            (r#"{"host":"h"} x"#, "no JSON"),
        ] {
            assert!(parse(body.as_bytes()).unwrap_err().contains(words), "{body}");
        }
    }
}
