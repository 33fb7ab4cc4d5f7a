//! A log file that is put aside when it is full. What it can't take goes to standard error.

use std::{
    io::{self, Write},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use tracing_rolling_file::{RollingConditionBase, RollingFileAppenderBase};

use super::{queue::Sink, settings::FileSettings};
use crate::time::{Mono, Wall};

/// How often it is looked whether the file still goes by its name.
const LOOK: Duration = Duration::from_secs(1);
/// How long a file that can't be written is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// The file. `E` takes what the file does not.
#[derive(Debug)]
pub(super) struct Rolling<E> {
    settings: FileSettings,
    /// Open, unless the last try failed.
    file: Option<RollingFileAppenderBase>,
    /// Bytes in it.
    size: u64,
    /// Which file that is (`stat(2)`: device and number), and when it is looked at next.
    is: Option<(u64, u64)>,
    look: Mono,
    /// When it may be tried again.
    again: Option<Mono>,
    /// Lines that went elsewhere since it failed.
    elsewhere: u64,
    /// That it can't be put aside has been said.
    told_full: bool,
    stderr: E,
}

impl<E: Write> Rolling<E> {
    /// Opens the file, or says why it can't be.
    pub(super) fn open(settings: FileSettings, stderr: E, now: Mono) -> Self {
        let (file, is, look) = (None, None, now + LOOK);
        let mut rolling =
            Self { settings, file, size: 0, is, look, again: None, elsewhere: 0, told_full: false, stderr };
        if let Err(error) = rolling.reopen() {
            rolling.fail(&error, now);
        }
        rolling
    }

    /// Writes a line, to the file where that is possible. It is in the kernel's hands when this returns.
    pub(super) fn write(&mut self, line: &[u8], now: Mono) {
        if self.file.is_none() && self.again.is_none_or(|again| again <= now) {
            match self.reopen() {
                Ok(()) => {}
                Err(_) => self.again = Some(now + PAUSE),
            }
        }
        // Others put logs aside too (logrotate(8)), and make no new one.
        if self.file.is_some() && self.look <= now {
            self.look = now + LOOK;
            if self.named().map(|(is, _)| is) != self.is
                && let Err(error) = self.reopen()
            {
                self.fail(&error, now);
            }
        }
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.settings.max_size {
            self.put_aside();
        }
        let Some(file) = &mut self.file else { return self.say(line) };
        match file.write_all(line).and_then(|()| file.flush()) {
            Ok(()) => {
                self.size += length;
                self.recovered();
            }
            Err(error) => {
                self.fail(&error, now);
                self.say(line);
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let FileSettings { path, max_files, .. } = &self.settings;
        // The library would write a warning of its own where no other can; so it is told when, and never asks.
        let never = RollingConditionBase::new();
        if path.to_str().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name is no UTF-8"));
        }
        self.file = Some(RollingFileAppenderBase::new(path, never, *max_files)?);
        (self.is, self.size) = self.named().map_or((None, 0), |(is, size)| (Some(is), size));
        Ok(())
    }

    /// Which file goes by the name now, and its size.
    fn named(&self) -> Option<((u64, u64), u64)> {
        let file = self.settings.path.metadata().ok()?;
        Some(((file.dev(), file.ino()), file.len()))
    }

    /// Puts the full file aside and begins a new one. Where that can't be done, the old one goes on: better a long file
    /// than none.
    fn put_aside(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.rollover() {
            Ok(()) => {
                (self.size, self.told_full) = (0, false);
                self.is = self.named().map(|(is, _)| is);
            }
            Err(error) => {
                // Not to be tried again for each line.
                self.size = 0;
                if !std::mem::replace(&mut self.told_full, true) {
                    let path = self.settings.path.display();
                    let line = format!(
                        "netmon: the log {path} is full and can't be put aside: {error}; it goes on\n"
                    );
                    let _ = self.stderr.write_all(line.as_bytes());
                }
            }
        }
    }

    fn fail(&mut self, error: &io::Error, now: Mono) {
        (self.file, self.size, self.again) = (None, 0, Some(now + PAUSE));
        // It was said, and no line has got through since.
        if self.elsewhere > 0 {
            return;
        }
        let path = self.settings.path.display();
        let line =
            format!("netmon: the log {path} can't be written: {error}; standard error takes its place\n");
        let _ = self.stderr.write_all(line.as_bytes());
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.again).is_some() {
            let (path, lines) = (self.settings.path.display(), std::mem::take(&mut self.elsewhere));
            let line =
                format!("netmon: the log {path} is written again; lines above that are not in it: {lines}\n");
            let _ = self.stderr.write_all(line.as_bytes());
        }
    }

    /// Where standard error is closed or full too, there is nobody left to tell.
    fn say(&mut self, line: &[u8]) {
        self.elsewhere += 1;
        let _ = self.stderr.write_all(line);
    }
}

impl<E: Write> Sink for Rolling<E> {
    fn write(&mut self, line: &[u8], _logged: Wall) {
        Rolling::write(self, line, Mono::now());
    }

    fn lost(&mut self, lines: u64) {
        let line = format!("netmon: lines lost here, as the log was not written in time: {lines}\n");
        Rolling::write(self, line.as_bytes(), Mono::now());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn settings(path: &Path, max_size: u64, max_files: usize) -> FileSettings {
        FileSettings { path: path.to_owned(), max_size, max_files }
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn said(rolling: &Rolling<Vec<u8>>) -> String {
        String::from_utf8(rolling.stderr.clone()).unwrap()
    }

    #[test]
    fn a_full_file_is_put_aside_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/netmon.log");
        let mut rolling = Rolling::open(settings(&path, 30, 2), Vec::new(), at(0));
        for n in 0..10 {
            rolling.write(format!("line {n} of 12\n").as_bytes(), at(0));
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).unwrap();
        assert_eq!(read(""), "line 8 of 12\nline 9 of 12\n");
        assert_eq!(read(".1"), "line 6 of 12\nline 7 of 12\n");
        assert_eq!(read(".2"), "line 4 of 12\nline 5 of 12\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
        assert_eq!(said(&rolling), "");
        // Another run goes on where this one was.
        let mut rolling = Rolling::open(settings(&path, 30, 2), Vec::new(), at(0));
        rolling.write(b"one more line\n", at(0));
        assert_eq!(read(""), "one more line\n");
        rolling.write(&[b'x'; 100], at(0));
        assert_eq!(fs::metadata(&path).unwrap().len(), 100, "a line longer than the file has one of its own");
    }

    #[test]
    fn a_file_that_others_put_aside_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("netmon.log"), folder.path().join("netmon.log-20261129"));
        let mut rolling = Rolling::open(settings(&path, 1000, 2), Vec::new(), at(0));
        rolling.write(b"first\n", at(0));
        fs::rename(&path, &aside).unwrap();
        rolling.write(b"second\n", at(2));
        fs::remove_file(&path).unwrap();
        rolling.write(b"third\n", at(4));
        assert_eq!(fs::read_to_string(&aside).unwrap(), "first\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        assert_eq!(said(&rolling), "");
    }

    #[test]
    fn a_full_disk_loses_no_line_and_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        // Of the link, not of the device, would be put aside.
        symlink("/dev/full", &path).unwrap();
        let mut rolling = Rolling::open(settings(&path, 30, 2), Vec::new(), at(0));
        rolling.write(b"first\n", at(0));
        rolling.write(b"second\n", at(1));
        // It can be opened each time, but not written.
        rolling.write(b"third\n", at(11));
        let text = said(&rolling);
        assert!(
            text.contains("No space left on device") && text.ends_with("place\nfirst\nsecond\nthird\n"),
            "{text}"
        );
        assert_eq!(text.matches("can't be written").count(), 1, "{text}");
        fs::remove_file(&path).unwrap();
        rolling.write(b"fourth\n", at(19));
        assert!(said(&rolling).ends_with("fourth\n"), "too soon to try again");
        rolling.write(b"fifth\n", at(22));
        assert!(said(&rolling).ends_with("is written again; lines above that are not in it: 4\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "fifth\n");
    }

    #[test]
    fn a_file_that_cannot_be_is_said_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("parent");
        fs::write(&parent, "").unwrap();
        let path = parent.join("netmon.log");
        let mut rolling = Rolling::open(settings(&path, 30, 2), Vec::new(), at(0));
        assert!(said(&rolling).contains("parent/netmon.log can't be written: "), "{}", said(&rolling));
        rolling.write(b"first\n", at(1));
        fs::remove_file(&parent).unwrap();
        rolling.write(b"second\n", at(11));
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(said(&rolling).lines().count(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        // A directory with something in it stands in the way.
        fs::create_dir_all(folder.path().join("netmon.log.1/x")).unwrap();
        let mut rolling = Rolling::open(settings(&path, 30, 1), Vec::new(), at(0));
        for n in 0..10 {
            rolling.write(format!("line {n} of 12\n").as_bytes(), at(0));
        }
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 10);
        assert_eq!(said(&rolling).matches("can't be put aside").count(), 1, "{}", said(&rolling));
    }
}
