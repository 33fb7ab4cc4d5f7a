//! Which kernel this is: some tracepoints see more from one release on.

/// Whether the running kernel is older than `major.minor`.
pub fn before(major: u32, minor: u32) -> bool {
    let release = nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned());
    release.is_ok_and(|release| version(&release).is_some_and(|version| version < (major, minor)))
}

/// `6.1.0-50-cloud-amd64` is 6.1.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.1.0-50-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("7.2+deb14"), Some((7, 2)));
        assert!(version("6.1.0") < version("6.12.118+deb13-cloud-amd64"));
        assert_eq!(version("linux"), None);
    }
}
