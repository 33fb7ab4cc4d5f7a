//! Who it is that sends: attributes of the resource.

use std::fs;

use ring::hmac;

/// Where the machine's identifier is (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// What the machine's identifier is hashed with: it is nobody's business over a network, and another program's hash is
/// to be another one.
const PURPOSE: &[u8] = b"netmon.opentelemetry.host.id";

/// Attributes by OpenTelemetry's semantic conventions; those that are configured come before, and an empty one takes its
/// attribute away.
pub(super) fn attributes(configured: &[(String, String)]) -> Vec<(String, String)> {
    of(configured, &host_name(), machine_id().as_deref(), &format!("{:032x}", rand::random::<u128>()))
}

fn of(
    configured: &[(String, String)],
    host: &str,
    machine: Option<&str>,
    random: &str,
) -> Vec<(String, String)> {
    let id = machine.map(hashed);
    let instance = id.clone().unwrap_or_else(|| uuid(random));
    let usual = [
        ("service.name", "netmon".to_owned()),
        // The same across restarts: in Prometheus it is the label `instance`.
        ("service.instance.id", instance),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("host.name", host.to_owned()),
        ("host.id", id.unwrap_or_default()),
    ];
    let mut all: Vec<(String, String)> = usual.map(|(key, value)| (key.to_owned(), value)).to_vec();
    for (key, value) in configured {
        all.retain(|(known, _)| known != key);
        all.push((key.clone(), value.clone()));
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

/// The identifier of a machine as an identifier of ours: a UUID that no other program has, and that does not lead back.
fn hashed(machine: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, machine.as_bytes()), PURPOSE);
    let hex: String = tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    uuid(&hex)
}

/// 32 hexadecimal digits as a UUID of version 8, "custom" (RFC 9562).
fn uuid(hex: &str) -> String {
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16] % 16 % 4)];
    format!("{}-{}-8{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

fn machine_id() -> Option<String> {
    let text = fs::read_to_string(MACHINE_ID).ok()?;
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef";

    fn get<'a>(all: &'a [(String, String)], key: &str) -> Option<&'a str> {
        all.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_machine_is_told_by_a_hash_of_its_identifier() {
        let all = of(&[], "web-1", Some(MACHINE), "");
        // printf netmon.opentelemetry.host.id | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let id = get(&all, "host.id").unwrap();
        assert_eq!(id, "39ea21d0-d024-8749-a002-2484e13262af");
        assert_eq!(get(&all, "service.instance.id"), Some(id));
        assert_eq!((get(&all, "service.name"), get(&all, "host.name")), (Some("netmon"), Some("web-1")));
        assert!(!all.iter().any(|(_, value)| value.contains(&MACHINE[..16])));
    }

    #[test]
    fn a_machine_without_an_identifier_has_an_instance_all_the_same() {
        let all = of(&[], "", None, MACHINE);
        assert_eq!(get(&all, "service.instance.id"), Some("01234567-89ab-8def-8123-456789abcdef"));
        assert_eq!((get(&all, "host.id"), get(&all, "host.name")), (None, None));
    }

    #[test]
    fn what_is_configured_comes_before_and_an_empty_value_takes_away() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let all =
            of(&[pair("service.name", "edge"), pair("host.id", ""), pair("x", "y")], "h", Some(MACHINE), "");
        assert_eq!(
            (get(&all, "service.name"), get(&all, "x"), get(&all, "host.id")),
            (Some("edge"), Some("y"), None)
        );
        assert_eq!(all.iter().filter(|(key, _)| key == "service.name").count(), 1);
    }
}
