//! Uploads a file to S3 in parts, and carries the upload through outages: each part is tried again by netmon's
//! [`Retryer`], while the multipart upload stays what it is. A part that has arrived is never sent again.
//!
//! `s3-upload FILE BUCKET KEY`. The environment says where to and as whom, as it does to all of Amazon's programs:
//! `AWS_ENDPOINT` (none: Amazon's own), `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`; `AWS_ALLOW_HTTP=true`
//! where it is not HTTPS. `NETMON_SOCKET` names the agent's socket where that is not the default.

use std::{
    env,
    error::Error as StdError,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use netmon_client::{
    Condition, aio,
    retry::{Classify, Errors, Policy, Retryer, Statistics, Verdict},
};
use netmon_s3_example::{Source, verdict};
use object_store::{
    Error, MultipartId, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    multipart::{MultipartStore, PartId},
    path::Path,
};

/// A request that is under way when the network goes down is given up after so long: TCP might save it from a shorter
/// outage, while after a longer one a new request is sooner there.
const CUT: Duration = Duration::from_secs(3);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("the network is down")]
    Outage,
    #[error(transparent)]
    Store(#[from] Error),
}

/// Tells which of them pass.
#[derive(Clone, Copy, Debug)]
struct Passes;

impl Classify<UploadError> for Passes {
    fn classify(&self, error: &UploadError) -> Verdict {
        match error {
            UploadError::Outage => Verdict::RETRYABLE,
            UploadError::Store(error) => verdict(error),
        }
    }
}

struct Upload {
    store: AmazonS3,
    key: Path,
    source: Source,
    network: Arc<aio::Monitor>,
    retryer: Retryer<Errors<Passes>>,
}

impl Upload {
    async fn run(&self) -> Result<(), Box<dyn StdError>> {
        let before = self.there().await?.map(|(_, tag)| tag);
        let id = self.retried(async |_| self.store.create_multipart(&self.key).await).await?;
        let done = match self.parts(&id).await {
            Ok(parts) => self.complete(&id, parts, before).await,
            Err(e) => Err(e),
        };
        if done.is_err() {
            // Parts of an upload that is neither completed nor aborted are kept, and paid for.
            let _ = self.store.abort_multipart(&self.key, &id).await;
        }
        done
    }

    async fn parts(&self, id: &MultipartId) -> Result<Vec<PartId>, Box<dyn StdError>> {
        let count = self.source.parts();
        let mut parts = Vec::with_capacity(count);
        for number in 0..count {
            let payload = self.source.part(number)?;
            // By its number: `MultipartUpload::put_part` would count each try as one part more.
            let put = async |_| self.store.put_part(&self.key, id, number, payload.clone()).await;
            parts.push(self.retried(put).await?);
            println!("part {} of {count}", number + 1);
        }
        Ok(parts)
    }

    async fn complete(
        &self,
        id: &MultipartId,
        parts: Vec<PartId>,
        before: Option<Option<String>>,
    ) -> Result<(), Box<dyn StdError>> {
        let complete = async |attempt| match self.store.complete_multipart(&self.key, id, parts.clone()).await
        {
            // The answer to the first try may have been lost: then there is no such upload any more, but the object.
            Err(e @ Error::NotFound { .. }) if attempt > 1 => {
                let there = self.there_now().await?;
                let is_ours =
                    |(size, tag): &(u64, _)| *size == self.source.size && before.as_ref() != Some(tag);
                if there.as_ref().is_some_and(is_ours) { Ok(()) } else { Err(e) }
            }
            result => result.map(drop),
        };
        self.retried(complete).await
    }

    /// Size and tag of the object, if there is one.
    async fn there(&self) -> Result<Option<(u64, Option<String>)>, Box<dyn StdError>> {
        self.retried(async |_| self.there_now().await).await
    }

    async fn there_now(&self) -> Result<Option<(u64, Option<String>)>, Error> {
        match self.store.head(&self.key).await {
            Ok(object) => Ok(Some((object.size, object.e_tag))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a request until it succeeds.
    async fn retried<T>(&self, request: impl AsyncFn(u32) -> Result<T, Error>) -> Result<T, Box<dyn StdError>>
    where
        T: std::fmt::Debug + 'static,
    {
        let attempt = async |number| {
            tokio::select! {
                result = request(number) => Ok(result?),
                _ = self.network.wait_for(Condition::Down, CUT, None) => Err(UploadError::Outage),
            }
        };
        Ok(self.retryer.run_async(attempt).await?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("s3-upload: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, bucket, key] = &arguments[..] else { return Err("usage: s3-upload FILE BUCKET KEY".into()) };

    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        // It tries again by itself, and knows nothing of outages.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()?;
    let network = Arc::new(aio::Monitor::connect(aio::Client::default_socket()).await);
    let sum = Arc::new(Mutex::new((Statistics::default(), 0)));
    let told = sum.clone();
    let retryer =
        Retryer::new(Policy::default())?.name("s3").network(network.clone()).classify(Passes).on_finish(
            move |report| {
                let (sum, successes) = &mut *told.lock().unwrap_or_else(|e| e.into_inner());
                sum.attempts += report.statistics.attempts;
                sum.refunds += report.statistics.refunds;
                sum.paused += report.statistics.paused;
                *successes += u32::from(report.result.is_ok());
            },
        );
    let upload = Upload { store, key: Path::parse(key)?, source: Source::open(file)?, network, retryer };
    let result = upload.run().await;
    let (sum, successes) = *sum.lock().unwrap_or_else(|e| e.into_inner());
    println!(
        "attempts={} refunded={} wasted={} paused={:.1}s",
        sum.attempts,
        sum.refunds,
        sum.attempts - sum.refunds - successes,
        sum.paused.as_secs_f64()
    );
    result
}
