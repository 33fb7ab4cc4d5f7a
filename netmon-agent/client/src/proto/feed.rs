//! A stream of events, as it comes in.

use std::time::Duration;

use super::{
    answer::Call,
    exchange::{Body, Exchange},
    request,
    sse::{Events, Item},
};
use crate::{Error, State, events::EventOptions};

/// Silence that means that the agent is gone, when the agent does not say (three default intervals).
const STALE_AFTER: Duration = Duration::from_secs(6);

/// What a stream's header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Age at which the agent's state is stale.
    pub(crate) stale_after: Duration,
    /// The state of the whole network.
    pub(crate) state: State,
    /// When the header was written, by the agent's boot time, nanoseconds; from an agent that stamps its stream.
    pub(crate) boottime_ns: Option<u64>,
}

/// What to do next with a stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Take this.
    Item(Item),
    /// Read on.
    Read,
    /// The agent ended it.
    End,
}

/// One connection's events.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    exchange: Exchange,
    /// There when the answer is no stream.
    refusal: Option<Call>,
    events: Events,
    ended: bool,
    /// What is wrong with the rest of it.
    broken: Option<Error>,
}

impl Feed {
    /// What to ask.
    pub(crate) fn request(options: EventOptions) -> Vec<u8> {
        let target = if options.all { "/v1/events?all=1" } else { "/v1/events" };
        let id = options.last_id.map(|id| id.to_string());
        let id = id.as_deref().map(|id| ("Last-Event-ID", id));
        let headers: Vec<_> = [("Accept", "text/event-stream")].into_iter().chain(id).collect();
        request("GET", target, &headers)
    }

    /// Where bytes of the connection go.
    pub(crate) fn exchange(&mut self) -> &mut Exchange {
        self.refusal.as_mut().map_or(&mut self.exchange, |call| &mut call.exchange)
    }

    /// The header, once it is whole. To be asked for before [`Feed::next`], until it is there.
    pub(crate) fn opened(&mut self) -> Result<Option<Opened>, Error> {
        if let Some(call) = &mut self.refusal {
            return call.reply()?.map_or(Ok(None), |reply| Err(reply.refusal()));
        }
        let Some(head) = self.exchange.head()? else { return Ok(None) };
        if head.status != 200 {
            self.refusal = Some(Call::with_head(std::mem::take(&mut self.exchange), head));
            return self.opened();
        }
        let number = |name: &str| head.header(name).and_then(|n| n.parse().ok());
        Ok(Some(Opened {
            stale_after: number("netmon-stale-after-ms").map_or(STALE_AFTER, Duration::from_millis),
            state: State::from(head.header("netmon-state").unwrap_or_default().to_owned()),
            boottime_ns: number("netmon-boottime-ns"),
        }))
    }

    /// The next item.
    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(item) = self.events.next()? {
                return Ok(Next::Item(item));
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            if self.ended {
                return Ok(Next::End);
            }
            let tail = self.events.tail();
            let before = tail.len();
            match self.exchange.body(tail) {
                Ok(Body::Open) if tail.len() == before => return Ok(Next::Read),
                Ok(Body::Open) => {}
                // What was whole before the end is told first, and before what can't be read.
                Ok(Body::Ended) | Err(Error::Disconnected) => self.ended = true,
                Err(e) => self.broken = Some(e),
            }
        }
    }

    /// Bytes that are held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.exchange.held() + self.events.held()
    }
}
