//! A terminal with a program on it, and as much of a terminal's own wits as it takes to read its screen.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use netmon_agent::time::Mono;

/// Far beyond what anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// `netmon top` on a terminal.
pub(crate) struct Terminal {
    script: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    screen: Screen,
}

/// What is on it.
struct Screen {
    cells: Vec<Vec<char>>,
    x: usize,
    y: usize,
    /// The shell's screen with its cursor, while the program has another.
    below: Option<(Vec<Vec<char>>, usize, usize)>,
    cursor: bool,
    /// Bytes of a sequence or a character that is not whole.
    left: Vec<u8>,
}

impl Terminal {
    /// Runs it by a shell that tells its process and how it ended. None, once it is said, where there is no script(1).
    pub(crate) fn run(socket: &Path) -> Option<Self> {
        let netmon = env!("CARGO_BIN_EXE_netmon");
        let top = format!("echo pid \\$\\$ end; exec '{netmon}' --socket '{}' top", socket.display());
        let line = format!(
            "stty rows {ROWS} cols {COLUMNS}; sh -c \"{top}\"; echo code $? end; stty -a | tr ';' '\\n' | grep icanon; read rest"
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.env("LANG", "C.UTF-8").env_remove("LC_ALL").env_remove("NO_COLOR");
        let Ok(mut script) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            eprintln!("SKIPPED: no script(1); it is in Debian's package bsdutils");
            assert!(std::env::var_os("CI").is_none(), "script is needed in CI");
            return None;
        };
        let keys = script.stdin.take().unwrap();
        let mut out = script.stdout.take().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Self { script, keys, output, screen: Screen::new() })
    }

    pub(crate) fn type_keys(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
        self.keys.flush().unwrap();
    }

    /// The process that runs it.
    pub(crate) fn pid(&mut self) -> i32 {
        let mut pid = None;
        self.await_screen("its process", |terminal| {
            let line = terminal
                .screen
                .lines_of_the_shell()
                .into_iter()
                .find(|line| line.starts_with("pid ") && line.ends_with(" end"));
            pid = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
            pid.is_some()
        });
        pid.unwrap()
    }

    /// Waits until its lines are as wanted.
    pub(crate) fn see(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        self.await_screen(what, |terminal| wanted(&terminal.screen.lines()));
    }

    /// Waits until it is as wanted.
    pub(crate) fn await_screen(&mut self, what: &str, mut wanted: impl FnMut(&Self) -> bool) {
        let deadline = Mono::now() + LONG;
        while !wanted(self) {
            let left = deadline.since(Mono::now());
            assert!(!left.is_zero(), "{what} never came:\n{}", self.screen.lines().join("\n"));
            if let Ok(bytes) = self.output.recv_timeout(left.min(Duration::from_millis(20))) {
                self.screen.take(&bytes);
            }
        }
    }

    /// Whether it is not the one that the shell writes to.
    pub(crate) fn is_other_screen(&self) -> bool {
        self.screen.below.is_some()
    }

    pub(crate) fn is_cursor_shown(&self) -> bool {
        self.screen.cursor
    }

    /// Whether the shell found it in lines again, after the end.
    pub(crate) fn is_cooked(&mut self) -> bool {
        self.see("its settings", |lines| lines.iter().any(|line| line.contains("icanon")));
        !self.screen.lines().iter().any(|line| line.contains("-icanon"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.keys.write_all(b"\n");
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn blank() -> Vec<Vec<char>> {
    vec![vec![' '; COLUMNS]; ROWS]
}

impl Screen {
    fn new() -> Self {
        Self { cells: blank(), x: 0, y: 0, below: None, cursor: true, left: Vec::new() }
    }

    fn lines(&self) -> Vec<String> {
        Self::text(&self.cells)
    }

    /// Those of the shell's screen, whichever is shown.
    fn lines_of_the_shell(&self) -> Vec<String> {
        Self::text(self.below.as_ref().map_or(&self.cells, |(cells, ..)| cells))
    }

    fn text(cells: &[Vec<char>]) -> Vec<String> {
        cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.left);
        let mut rest = &all[..];
        while let Some(used) = self.one(rest) {
            rest = &rest[used..];
        }
        self.left = rest.to_vec();
    }

    /// Takes one character or sequence; none where it is not whole.
    fn one(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.first()? {
            0x1b if bytes.get(1)? == &b'[' => {
                let end = 2 + bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b))?;
                let (parameters, last) = (String::from_utf8_lossy(&bytes[2..end]).into_owned(), bytes[end]);
                self.command(&parameters, last);
                return Some(end + 1);
            }
            0x1b => return Some(2),
            b'\r' => self.x = 0,
            b'\n' if self.y + 1 < ROWS => self.y += 1,
            b'\n' => {
                self.cells.remove(0);
                self.cells.push(vec![' '; COLUMNS]);
            }
            0..0x20 => {}
            first => {
                let length = [1, 2, 3, 4][(first.leading_ones() as usize).saturating_sub(1).min(3)];
                let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
                if self.x < COLUMNS {
                    self.cells[self.y][self.x] = text.chars().next().unwrap_or(' ');
                    self.x += 1;
                }
                return Some(length);
            }
        }
        Some(1)
    }

    fn command(&mut self, parameters: &str, last: u8) {
        let mut numbers = parameters.split(';').map(|n| n.parse().unwrap_or(1));
        match (last, parameters) {
            (b'H', _) => {
                self.y = (numbers.next().unwrap_or(1_usize) - 1).min(ROWS - 1);
                self.x = (numbers.next().unwrap_or(1) - 1).min(COLUMNS - 1);
            }
            (b'J', "2") => self.cells = blank(),
            (b'h', "?1049") => {
                let shown = std::mem::replace(&mut self.cells, blank());
                // There are but two: who is on the other already stays there.
                self.below.get_or_insert((shown, self.x, self.y));
            }
            (b'l', "?1049") => {
                if let Some(below) = self.below.take() {
                    (self.cells, self.x, self.y) = below;
                }
            }
            (b'h' | b'l', "?25") => self.cursor = last == b'h',
            (b'm', _) => {}
            _ => assert!(
                !parameters.is_empty() || last == b'm',
                "a terminal would know {parameters:?} {}",
                char::from(last)
            ),
        }
    }
}
