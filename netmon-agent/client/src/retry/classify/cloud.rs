use super::Verdict;

/// Error codes by which the clouds say: later. Others than these are theirs alone, or no reason to try again.
pub const CLOUD_CODES: &[&str] = &[
    "SlowDown",
    "ThrottlingException",
    "RequestTimeout",
    "RequestLimitExceeded",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "TooManyRequests",
    "ServiceUnavailable",
    "InternalError",
];

/// What an error code of a cloud is, whatever HTTP status it came with: retryable, or unknown. A namespace before it
/// (`com.amazonaws…#ThrottlingException`) and an address after it (`x-amzn-errortype`) do not matter.
pub fn cloud_code(code: &str) -> Verdict {
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().trim();
    if CLOUD_CODES.contains(&code) { Verdict::RETRYABLE } else { Verdict::Unknown }
}

/// The first of these codes that stands in `text` as a word of its own: in the body of an answer, or in the message of
/// an error that quotes it.
///
/// ```
/// use netmon_client::retry::classify::find_cloud_code;
///
/// let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
/// assert_eq!(find_cloud_code(body), Some("SlowDown"));
/// assert_eq!(find_cloud_code("bucket NotSlowDowns is gone"), None);
/// ```
pub fn find_cloud_code(text: &str) -> Option<&'static str> {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find_map(|word| CLOUD_CODES.iter().copied().find(|code| *code == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_known_wherever_it_stands() {
        for code in CLOUD_CODES {
            assert_eq!(cloud_code(code), Verdict::RETRYABLE, "{code}");
            assert_eq!(cloud_code(&format!("com.amazonaws.dynamodb.v20120810#{code}")), Verdict::RETRYABLE);
            assert_eq!(cloud_code(&format!("{code}:http://internal.amazon.com/")), Verdict::RETRYABLE);
            assert_eq!(find_cloud_code(&format!(r#"{{"__type":"x#{code}"}}"#)), Some(*code));
            assert_eq!(find_cloud_code(&format!("{code}s")), None);
            assert_eq!(find_cloud_code(&format!("my_{code}")), None);
        }
        for other in ["", "AccessDenied", "NoSuchBucket", "slowdown", "NoSlowDown"] {
            assert_eq!(cloud_code(other), Verdict::Unknown, "{other}");
        }
    }
}
