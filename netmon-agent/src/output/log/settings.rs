//! What was asked for, by the configuration and on the command line, and what that comes to.

use std::path::PathBuf;

use super::LogError;

/// What is logged where nobody says.
pub const LEVEL: &str = "info";
/// Largest file, bytes, where nobody says: weeks of a network that behaves.
pub const MAX_SIZE: u64 = 10 << 20;
/// Smallest that may be asked for: some lines, so that a file is not turned over for each.
pub const LEAST_SIZE: u64 = 16 << 10;
/// Full files kept beside the one that is written, where nobody says.
pub const MAX_FILES: usize = 5;
/// Most that may be asked for: each is renamed when one more is full.
pub const MOST_FILES: usize = 1000;

/// How lines look.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// To systemd's journal, with its fields.
    Journald,
}

/// How and where to log; what is none is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A level, or a list of directives such as `info,netmon_agent::source=debug`.
    pub level: Option<String>,
    /// How lines look.
    pub format: Option<LogFormat>,
    /// A file to write to instead of standard error.
    pub file: Option<PathBuf>,
    /// Bytes of the file, [`LEAST_SIZE`] at least, before it is put aside.
    pub max_size: Option<u64>,
    /// Files put aside that are kept, 1 to [`MOST_FILES`].
    pub max_files: Option<usize>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// Standard error, as JSON or as text.
    Stderr {
        /// JSON.
        json: bool,
    },
    /// systemd's journal.
    Journal,
    /// A file, as JSON or as text.
    File {
        /// JSON.
        json: bool,
        /// Which.
        file: FileSettings,
    },
}

/// A file and when it is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file that is written. Those put aside are called the same, with `.1` for the last.
    pub path: PathBuf,
    /// Bytes before it is put aside.
    pub max_size: u64,
    /// How many put aside are kept.
    pub max_files: usize,
}

impl Settings {
    /// What the command line says, and where it says nothing the configuration. A file on the one rules the journal of the
    /// other out, and the other way round.
    ///
    /// # Errors
    /// A file and the journal in one place; a size on the command line and no file.
    pub fn over(self, configured: Self) -> Result<Self, LogError> {
        let sized = self.max_size.is_some() || self.max_files.is_some();
        let (file, format) = match (self.file, self.format) {
            (Some(_), Some(LogFormat::Journald)) => return Err(LogError::Both),
            (None, Some(LogFormat::Journald)) => (None, Some(LogFormat::Journald)),
            (Some(file), format) => {
                let lines = configured.format.filter(|format| *format != LogFormat::Journald);
                (Some(file), format.or(lines))
            }
            (None, format) => (configured.file, format.or(configured.format)),
        };
        let all = Self {
            level: self.level.or(configured.level),
            format,
            file,
            max_size: self.max_size.or(configured.max_size),
            max_files: self.max_files.or(configured.max_files),
        };
        match &all {
            Self { file: Some(_), format: Some(LogFormat::Journald), .. } => Err(LogError::Both),
            Self { file: None, .. } if sized => Err(LogError::NoFile),
            _ => Ok(all),
        }
    }

    /// Where lines go, where standard error is the journal's own or not.
    pub(super) fn sink(&self, is_journal: bool) -> Sink {
        let json = self.format == Some(LogFormat::Json);
        match (&self.file, self.format) {
            (Some(path), _) => Sink::File {
                json,
                file: FileSettings {
                    path: path.clone(),
                    max_size: self.max_size.unwrap_or(MAX_SIZE),
                    max_files: self.max_files.unwrap_or(MAX_FILES),
                },
            },
            (None, Some(LogFormat::Journald)) => Sink::Journal,
            (None, None) if is_journal => Sink::Journal,
            (None, _) => Sink::Stderr { json },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: Option<&str>, format: Option<LogFormat>) -> Settings {
        Settings { file: file.map(PathBuf::from), format, ..Settings::default() }
    }

    #[test]
    fn the_command_line_rules_the_configuration_out() {
        use LogFormat::{Journald, Json, Text};
        for (flags, configured, file, format) in [
            (of(None, None), of(None, None), None, None),
            (of(None, None), of(Some("/c"), Some(Json)), Some("/c"), Some(Json)),
            (of(Some("/f"), None), of(Some("/c"), Some(Json)), Some("/f"), Some(Json)),
            (of(Some("/f"), None), of(None, Some(Journald)), Some("/f"), None),
            (of(None, Some(Journald)), of(Some("/c"), Some(Json)), None, Some(Journald)),
            (of(None, Some(Text)), of(Some("/c"), Some(Json)), Some("/c"), Some(Text)),
        ] {
            let all = flags.clone().over(configured.clone()).unwrap();
            assert_eq!(all, of(file, format), "{flags:?} over {configured:?}");
        }
        assert!(of(Some("/f"), Some(Journald)).over(Settings::default()).is_err());
        assert!(Settings::default().over(of(Some("/f"), Some(Journald))).is_err());
    }

    #[test]
    fn a_size_is_that_of_a_file() {
        let sized = || Settings { max_size: Some(MAX_SIZE), ..Settings::default() };
        assert!(matches!(sized().over(of(None, None)), Err(LogError::NoFile)));
        assert!(sized().over(of(Some("/c"), None)).is_ok());
        // In a file that several machines share, it may stand beside none.
        assert!(Settings::default().over(sized()).is_ok());
    }

    #[test]
    fn standard_error_that_is_the_journal_is_spoken_to_in_its_own_way() {
        let sink = |settings: Settings, is_journal| settings.sink(is_journal);
        assert_eq!(sink(of(None, None), true), Sink::Journal);
        assert_eq!(sink(of(None, None), false), Sink::Stderr { json: false });
        assert_eq!(sink(of(None, Some(LogFormat::Text)), true), Sink::Stderr { json: false });
        assert_eq!(sink(of(None, Some(LogFormat::Journald)), false), Sink::Journal);
        let file = FileSettings { path: "/f".into(), max_size: MAX_SIZE, max_files: MAX_FILES };
        assert_eq!(sink(of(Some("/f"), Some(LogFormat::Json)), true), Sink::File { json: true, file });
    }
}
