//! One target: its corpus laid out as files, played on, and taken in again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{corpus, folder};
use crate::step::root;

/// Longest input, bytes.
const LONGEST: usize = 4096;
/// What one input may take, seconds, on a machine that is busy.
const PATIENCE: u32 = 60;
/// What the program may hold, MiB.
const ROOM: u32 = 2048;
/// Bytes of what is found that a corpus in the repository has at most, and of all that is in it: each line is replayed in every
/// run of the tests.
const KEPT: usize = 24 << 10;
const WHOLE: usize = 56 << 10;
/// What stands before that in its file. The lines above are written by hand and stay.
const FOUND: &str = "# Found by libFuzzer, of what leads further than the lines above:";

/// How far it came.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) executions: u64,
    /// Executions a second.
    pub(super) pace: u64,
    /// Inputs of the corpus that it went on from.
    pub(super) corpus: usize,
}

/// A target that can be played.
#[derive(Debug)]
pub(super) struct Target<'a> {
    program: &'a Path,
    name: &'a str,
    /// A file an input.
    corpus: PathBuf,
    /// The corpus of the repository.
    file: PathBuf,
}

impl<'a> Target<'a> {
    /// Lays out its corpus; what earlier runs have found stays beside it.
    pub(super) fn lay_out(program: &'a Path, name: &'a str) -> Result<Self> {
        let file = root().join("fuzz/corpus").join(name).with_extension("txt");
        let corpus = folder().join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        for folder in ["found", "logs", "profiles"].map(|part| folder().join(part)) {
            fs::create_dir_all(folder)?;
        }
        let target = Self { program, name, corpus, file };
        target.write(&target.corpus, &target.text()?)?;
        Ok(target)
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(&self.file).with_context(|| self.file.display().to_string())
    }

    fn write(&self, folder: &Path, text: &str) -> Result<()> {
        let inputs =
            corpus::unpack(text).map_err(|line| anyhow!("{}:{line} can't be read", self.file.display()))?;
        for (i, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("of-the-repository-{i}")), input)?;
        }
        Ok(())
    }

    fn command(&self, log: &str) -> Result<(Command, PathBuf)> {
        let log = folder().join("logs").join(format!("{}{log}.log", self.name));
        // A peer that goes away is nothing to die of, and libFuzzer's main leaves that signal as it is.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' PIPE; exec \"$0\" \"$@\""]).arg(self.program);
        command.env("NETMON_FUZZ_TARGET", self.name).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        command.arg(format!("-max_len={LONGEST}")).arg(format!("-timeout={PATIENCE}"));
        command.arg(format!("-rss_limit_mb={ROOM}"));
        Ok((command, log))
    }

    /// Plays it for so long.
    ///
    /// # Errors
    /// A promise is broken; the error names the input, and what was said.
    pub(super) fn play(&self, time: Duration) -> Result<Stats> {
        let profile = folder().join("profiles").join(self.name).with_extension("profraw");
        let (mut command, log) = self.command("")?;
        command.env("LLVM_PROFILE_FILE", profile).args(["-print_final_stats=1", "-reload=0"]);
        command.arg(format!("-artifact_prefix={}/{}-", folder().join("found").display(), self.name));
        command.arg(format!("-max_total_time={}", time.as_secs().max(1))).arg(&self.corpus);
        let status = command.status().with_context(|| self.program.display().to_string())?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() {
            let telling = said
                .lines()
                .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"));
            let artifact = said.lines().rev().find(|line| line.contains("Test unit written to"));
            let telling = telling.take(12).collect::<Vec<_>>().join("\n");
            bail!("{status}: {}\n{telling}\nall of it is in {}", artifact.unwrap_or_default(), log.display());
        }
        let stat = |name: &str| -> Result<u64> {
            let value = said
                .lines()
                .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
            value
                .with_context(|| format!("no {name} in {}", log.display()))?
                .trim()
                .parse()
                .context("a number")
        };
        let corpus = fs::read_dir(&self.corpus)?.count();
        Ok(Stats {
            executions: stat("number_of_executed_units")?,
            pace: stat("average_exec_per_sec")?,
            corpus,
        })
    }

    /// Takes what leads further than the lines written by hand into the corpus of the repository, as little as it goes.
    pub(super) fn keep(&self) -> Result<()> {
        let text = self.text()?;
        let by_hand = text.split(FOUND).next().unwrap_or_default().to_owned();
        let merged = folder().join("merged").join(self.name);
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged)?;
        self.write(&merged, &by_hand)?;
        let (mut command, log) = self.command("-merge")?;
        let status = command
            .arg("-merge=1")
            .args([&merged, &self.corpus])
            .env("LLVM_PROFILE_FILE", "/dev/null")
            .status()?;
        if !status.success() {
            bail!("{status}: see {}", log.display());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&merged)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("of-the-repository-") {
                found.push(corpus::pack(&fs::read(entry.path())?));
            }
        }
        found.sort_by_key(|line| (line.len(), line.clone()));
        let mut kept = by_hand + FOUND + "\n";
        let most = WHOLE.min(kept.len() + KEPT);
        for line in found {
            if kept.len() + line.len() < most {
                kept += &line;
                kept.push('\n');
            }
        }
        fs::write(&self.file, kept).with_context(|| self.file.display().to_string())
    }
}
