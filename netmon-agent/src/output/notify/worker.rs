//! Who tells one notifier, one notice after the other.

use std::sync::Arc;

use tokio::task;

use super::{
    Means, Notifier, Runner,
    command::Hook,
    counters::{Counters, Fate},
    hold::Notice,
    message::{Message, Sender},
    outbox::Outbox,
    webhook::{LookUp, Postman},
};
use crate::{output::WallAnchor, state::Board, time::Mono};

/// What the workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) board: Board,
    pub(super) counters: Counters,
    pub(super) look_up: LookUp,
    pub(super) runner: Option<Runner>,
    pub(super) walls: Arc<WallAnchor>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Tells until its outbox is closed, and gives back what it had begun to tell by then.
pub(super) type Worker = task::JoinHandle<Option<Begun>>;

/// A notice that somebody began to tell, under this name.
pub(super) struct Begun {
    id: String,
    pub(super) notice: Notice,
}

impl From<Notice> for Begun {
    fn from(notice: Notice) -> Self {
        Self { id: format!("{:032x}", rand::random::<u128>()), notice }
    }
}

/// Tells one notice after the other, `begun` first, until the outbox is closed. Gives back what is then begun and not told.
pub(super) async fn work(
    shared: Shared,
    notifier: Arc<Notifier>,
    outbox: Arc<Outbox>,
    mut begun: Option<Begun>,
) -> Option<Begun> {
    let name = &notifier.name;
    if outbox.is_closed() {
        return begun;
    }
    let mut means = match &notifier.means {
        Means::Command(hook) => At::Command(hook),
        Means::Webhook(webhook) => {
            let retries = shared.counters.retries.with_label_values(&[name]);
            let look_up = shared.look_up.clone();
            At::Webhook(Postman::new(name, webhook, look_up, shared.board.clone(), retries))
        }
    };
    loop {
        let Begun { id, notice } = match begun.take() {
            Some(begun) => begun,
            None => outbox.next().await?.into(),
        };
        let host = host();
        let sender = Sender { notifier: name, host: &host, id: &id };
        let message = Message::new(&notice, sender, shared.walls.now());
        let (subject, state) = (notice.subject().name(), notice.change.state.as_str());
        let fate = match &mut means {
            At::Command(hook) => {
                let (result, output) = match &shared.runner {
                    Some(runner) => runner.run(hook, &message).await,
                    None => hook.run(&message).await,
                };
                let output = output.to_string();
                match result {
                    Ok(()) => {
                        tracing::info!(notifier = name, subject, state, output, "told");
                        Fate::Delivered
                    }
                    Err(e) => {
                        tracing::warn!(notifier = name, subject, state, output, "not told: {e}");
                        Fate::Failed
                    }
                }
            }
            At::Webhook(postman) => match postman.deliver(&message, &outbox).await {
                None => return Some(Begun { id, notice }),
                Some(fate) => {
                    if fate == Fate::Delivered {
                        tracing::info!(notifier = name, subject, state, "told");
                    }
                    fate
                }
            },
        };
        match fate {
            Fate::Delivered => outbox.delivered(Mono::now().since(notice.due)),
            other => outbox.count(other),
        }
    }
}

/// A notifier's means, at work.
enum At<'a> {
    Command(&'a Hook),
    Webhook(Postman<'a>),
}

/// This machine's name, as the kernel has it now.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
