//! The signature of a body. Pure.
//!
//! `Netmon-Signature: t=1700000000,v1=HEX`: HEX is the HMAC-SHA256 (RFC 2104) of the decimal `t`, a full stop and the body.
//! `t` is the sender's time in seconds since 1970, another one with each attempt: a receiver that refuses what is older
//! than some minutes can't be played a recording.

use std::fmt::Write;

use ring::hmac;

/// Name of the header.
pub const HEADER: &str = "netmon-signature";

/// The value of the header.
pub fn signature(secret: &[u8], unix_seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(unix_seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut value = format!("t={unix_seconds},v1=");
    for byte in context.sign().as_ref() {
        // Writing to a String can't fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{"state":"down"}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn it_is_what_openssl_makes() {
        assert_eq!(
            signature(b"secret", 1_700_000_000, br#"{"state":"down"}"#),
            "t=1700000000,v1=76099581e2e9283e97c49a4204f6bf2f3c1e09554c3ff47f93d68dbb62599064"
        );
    }

    #[test]
    fn time_body_and_secret_all_count() {
        let made = signature(b"secret", 1, b"body");
        assert_ne!(made[4..], signature(b"secret", 2, b"body")[4..]);
        assert_ne!(made, signature(b"secret", 1, b"Body"));
        assert_ne!(made, signature(b"Secret", 1, b"body"));
    }
}
