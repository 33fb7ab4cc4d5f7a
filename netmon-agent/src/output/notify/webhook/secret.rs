//! Secrets: in files, or in the agent's environment; never in the configuration, and never shown.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::PathBuf,
};

/// No secret is longer, bytes.
const MOST: u64 = 4096;

/// Where a secret is. It is read anew for each use, so that another takes effect at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The content of a file without the line feed at its end.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret in {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anybody could read it.
    #[error("the secret in {} may be read by everybody; chmod o= {}", .0.display(), .0.display())]
    Open(PathBuf),
    /// There is nothing in it.
    #[error("the secret in {0} is empty or longer than {MOST} bytes")]
    Length(String),
    /// There is no such variable.
    #[error("no secret: the agent's environment has no {0}")]
    NoVariable(String),
}

/// What is read: not to be shown by accident.
pub struct Value(Vec<u8>);

impl Value {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// It is not there, empty, or for everybody to read.
    pub fn read(&self) -> Result<Value, SecretError> {
        let (mut bytes, place) = match self {
            Self::File(path) => {
                let failed = |source| SecretError::Read { path: path.clone(), source };
                // A pipe without a writer would hold everybody up.
                let mut options = File::options();
                let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
                let file = file.map_err(failed)?;
                let found = file.metadata().map_err(failed)?;
                if found.is_file() && found.mode() & 0o007 != 0 {
                    return Err(SecretError::Open(path.clone()));
                }
                let mut bytes = Vec::new();
                file.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
                (bytes, path.display().to_string())
            }
            Self::Variable(name) => {
                let value = std::env::var_os(name).ok_or_else(|| SecretError::NoVariable(name.clone()))?;
                (std::os::unix::ffi::OsStringExt::into_vec(value), name.clone())
            }
        };
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        if bytes.is_empty() || bytes.len() as u64 > MOST {
            return Err(SecretError::Length(place));
        }
        Ok(Value(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_file_is_read_that_not_everybody_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        let is_missing = |e: SecretError| matches!(e, SecretError::Read { .. });
        assert!(secret.read().is_err_and(is_missing));
        fs::write(&path, "s3cr3t\n").unwrap();
        let mode = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        for open in [0o644, 0o604, 0o602] {
            mode(open);
            let said = secret.read().unwrap_err().to_string();
            assert!(said.contains("chmod o= "), "{said}");
        }
        mode(0o640);
        assert_eq!(secret.read().unwrap().bytes(), b"s3cr3t");
        assert!(!format!("{:?}", secret.read().unwrap()).contains("s3cr3t"));
        for bad in [String::new(), "\n".to_owned(), "x".repeat(4097)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(secret.read(), Err(SecretError::Length(_))));
        }
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(secret.read().is_err(), "a pipe without a writer");
    }

    #[test]
    fn a_variable_is_read() {
        // Cargo sets it.
        let value = Secret::Variable("CARGO_PKG_NAME".into()).read().unwrap();
        assert_eq!(value.bytes(), b"netmon-agent");
        let said = Secret::Variable("NETMON_NO_SUCH".into()).read().unwrap_err().to_string();
        assert!(said.contains("NETMON_NO_SUCH"), "{said}");
    }
}
