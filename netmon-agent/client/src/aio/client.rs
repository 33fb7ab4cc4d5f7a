use std::path::{Path, PathBuf};

use tokio::time::sleep;

use super::{
    events::{EventStream, Events},
    wire::{ask, get},
};
use crate::{
    Error, EventOptions, HistoryOptions, WaitOptions,
    client::{DEVICES, READING, named},
    clock,
    patient::{Next, Patient},
    proto::{ANSWER, GRACE},
    targets,
    wire::{
        AddedTarget, AddedTargets, Device, History, Status, TargetChange, TargetChanged, TargetSpec, Waited,
    },
};

/// Asks the agent: one connection a question. See [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the agent at `socket`. Connects at each question only.
    ///
    /// ```no_run
    /// # use netmon_client::aio;
    /// let agent = aio::Client::new("/run/netmon/netmon.sock");
    /// ```
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { path: socket.into() }
    }

    /// Where the agent is found: see [`crate::Client::default_socket`].
    ///
    /// ```no_run
    /// # use netmon_client::aio;
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// ```
    pub fn default_socket() -> PathBuf {
        crate::Client::default_socket()
    }

    /// The socket's path.
    ///
    /// ```no_run
    /// # use netmon_client::aio;
    /// println!("{}", aio::Client::new(aio::Client::default_socket()).socket().display());
    /// ```
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// The whole state now.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// println!("{:?}", aio::Client::new(aio::Client::default_socket()).status().await?.reasons);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No agent, no permission, no answer within 5 s, or not an agent's answer.
    pub async fn status(&self) -> Result<Status, Error> {
        get(&self.path, "/v1/status", Some(ANSWER)).await?.json()
    }

    /// The watched devices with their statistics, as of now: see [`Device`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// for device in aio::Client::new(aio::Client::default_socket()).devices().await? {
    ///     println!("{}: {} bytes sent", device.name, device.traffic.tx_bytes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        let status: Status = get(&self.path, DEVICES, Some(ANSWER)).await?.json()?;
        Ok(status.devices)
    }

    /// One device with its statistics, as of now.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// println!("{}", aio::Client::new(aio::Client::default_socket()).device("eth0").await?.mtu);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`]; [`Error::NotFound`] when no watched device has the name.
    pub async fn device(&self, name: &str) -> Result<Device, Error> {
        named(self.devices().await?, name)
    }

    /// Waits. `satisfied` in the answer tells whether it came about before the time-out. Dropping the future ends the
    /// wait at the agent, too.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{WaitOptions, aio};
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// assert!(agent.wait(&WaitOptions::usable()).await?.satisfied);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Client::wait`].
    pub async fn wait(&self, options: &WaitOptions) -> Result<Waited, Error> {
        let patience = options.timeout.map(|t| t.saturating_add(GRACE));
        ask(&self.path, &options.request(), patience).await?.json_of(&[200, 409])
    }

    /// Waits as [`Client::wait`] does, over restarts of the agent: see [`crate::Client::wait_through`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{WaitOptions, aio};
    /// let options = WaitOptions { target: Some("vcenter".into()), ..WaitOptions::up() };
    /// aio::Client::new(aio::Client::default_socket()).wait_through(&options).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Client::wait_through`].
    pub async fn wait_through(&self, options: &WaitOptions) -> Result<Waited, Error> {
        let mut patient = Patient::new(options, clock::now());
        loop {
            let answer = self.wait(&patient.options(clock::now())).await;
            match patient.judge(answer, clock::now()) {
                Next::Done(answer) => return answer,
                Next::Pause(pause) => sleep(pause).await,
            }
        }
    }

    /// Outages and availability of a period.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{HistoryOptions, aio};
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// println!("{}", agent.history(&HistoryOptions::default()).await?.outages.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Client::history`].
    pub async fn history(&self, options: &HistoryOptions) -> Result<History, Error> {
        get(&self.path, &options.query(), Some(READING)).await?.json()
    }

    /// Adds a target while the agent runs: see [`crate::Client::put_target`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{aio, wire::TargetSpec};
    /// let target = TargetSpec { host: Some("192.0.2.1".into()), ..TargetSpec::default() };
    /// aio::Client::new(aio::Client::default_socket()).put_target("router", &target).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Client::put_target`].
    pub async fn put_target(&self, name: &str, target: &TargetSpec) -> Result<TargetChange, Error> {
        let changed: TargetChanged =
            ask(&self.path, &targets::put(name, target)?, Some(ANSWER)).await?.json()?;
        Ok(changed.change)
    }

    /// Removes a target that was added while the agent runs: see [`crate::Client::delete_target`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// aio::Client::new(aio::Client::default_socket()).delete_target("router").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Client::delete_target`].
    pub async fn delete_target(&self, name: &str) -> Result<(), Error> {
        ask(&self.path, &targets::delete(name), Some(ANSWER)).await?.done()
    }

    /// The targets that were added while the agent runs: see [`crate::Client::added_targets`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// println!("{:?}", aio::Client::new(aio::Client::default_socket()).added_targets().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn added_targets(&self) -> Result<Vec<AddedTarget>, Error> {
        let all: AddedTargets = get(&self.path, targets::PATH, Some(ANSWER)).await?.json()?;
        Ok(all.targets)
    }

    /// Changes as they come, over reconnects: see [`Events`].
    ///
    /// ```no_run
    /// # use netmon_client::{EventOptions, aio};
    /// let events = aio::Client::new(aio::Client::default_socket()).events(EventOptions::default());
    /// ```
    pub fn events(&self, options: EventOptions) -> Events {
        Events::new(self.path.clone(), options)
    }

    /// Changes as they come, over this one connection.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), netmon_client::Error> {
    /// # use netmon_client::{EventOptions, aio};
    /// let agent = aio::Client::new(aio::Client::default_socket());
    /// println!("{:?}", agent.event_stream(EventOptions::default()).await?.state());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn event_stream(&self, options: EventOptions) -> Result<EventStream, Error> {
        EventStream::open(&self.path, options).await
    }
}
