//! The same upload with no more than object_store's own retries, five attempts for each request: what `s3-upload` is
//! held against. `s3-plain FILE BUCKET KEY`.

use std::{
    env,
    error::Error as StdError,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use netmon_s3_example::Source;
use object_store::{
    ClientOptions, RetryConfig,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
    multipart::MultipartStore,
    path::Path,
};

/// Counts the requests, which the library tells nobody of.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicU32>);

#[derive(Debug)]
struct Counting {
    client: HttpClient,
    requests: Arc<AtomicU32>,
}

impl HttpConnector for Counted {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Counting { client, requests: self.0.clone() }))
    }
}

#[async_trait]
impl HttpService for Counting {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.client.execute(request).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("s3-plain: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, bucket, key] = &arguments[..] else { return Err("usage: s3-plain FILE BUCKET KEY".into()) };

    let counted = Counted::default();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(RetryConfig { max_retries: 4, ..RetryConfig::default() })
        .with_http_connector(counted.clone())
        .build()?;
    let (key, source) = (Path::parse(key)?, Source::open(file)?);
    let mut successes = 0;
    let result = async {
        let id = store.create_multipart(&key).await?;
        successes += 1;
        let mut parts = Vec::new();
        for number in 0..source.parts() {
            parts.push(store.put_part(&key, &id, number, source.part(number)?).await?);
            successes += 1;
            println!("part {} of {}", number + 1, source.parts());
        }
        store.complete_multipart(&key, &id, parts).await?;
        successes += 1;
        Ok(())
    };
    let result: Result<(), Box<dyn StdError>> = result.await;
    let attempts = counted.0.load(Ordering::Relaxed);
    println!("attempts={attempts} refunded=0 wasted={}", attempts - successes);
    result
}
