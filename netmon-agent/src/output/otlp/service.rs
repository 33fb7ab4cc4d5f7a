//! The thread.

use std::{
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Settings, export::Exporter};
use crate::{
    output::{api::Figures, metrics::Exports, notify::LookUp},
    time::{Mono, sleep_until},
};

/// How long the end of the agent waits for its last export.
const PATIENCE: Duration = Duration::from_secs(2);

/// Exports while it is there. [`Service::stop`] has it export once more.
#[derive(Debug)]
pub struct Service {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Service {
    /// Exports these figures, at a random moment of the first interval first: a fleet that starts together does not come
    /// together.
    ///
    /// # Errors
    /// No thread, no runtime.
    pub fn start(
        settings: Settings,
        figures: Figures,
        counters: Exports,
        look_up: LookUp,
    ) -> io::Result<Self> {
        // One thread reads certificates and secrets.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            let interval = settings.interval;
            let exporter = Exporter::new(settings, counters, look_up);
            runtime.block_on(run(exporter, figures, interval, stopped));
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends, after a last export of two seconds at most.
    pub fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn run(mut exporter: Exporter, figures: Figures, interval: Duration, mut stop: oneshot::Receiver<()>) {
    let mut due = Mono::now() + interval.mul_f64(rand::random());
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => break,
            () = sleep_until(due) => {}
        }
        // Those that were missed, by a machine that was too busy, are left out.
        due = Mono::now().max(due) + interval;
        tokio::select! {
            biased;
            _ = &mut stop => break,
            () = exporter.export(&figures, due) => {}
        }
    }
    let _ = timeout(PATIENCE, exporter.export(&figures, Mono::now() + PATIENCE)).await;
}
