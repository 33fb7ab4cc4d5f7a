//! What the exit codes of well-known programs mean, each by the program's own documentation.

/// One program's codes.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// What a new attempt may mend.
    pub(super) retry: &'static [u8],
    /// What it would not, an outage or not.
    pub(super) never: &'static [u8],
    /// What is no wrong usage here, though the number says so elsewhere: an outage decides.
    pub(super) if_outage: &'static [u8],
    /// What the program's environment has to say for its codes to mean this.
    pub(super) environment: Option<(&'static str, &'static str)>,
}

const PLAIN: Profile = Profile { name: "", retry: &[], never: &[], if_outage: &[], environment: None };

/// Borg's warnings: 1, and 100 to 127 of each kind.
const BORG_WARNINGS: [u8; 29] = {
    let mut codes = [1; 29];
    let mut at = 1;
    while at < codes.len() {
        codes[at] = 99 + at as u8;
        at += 1;
    }
    codes
};

/// Every profile.
pub(super) const ALL: [Profile; 6] = [
    // rclone.org/docs, "List of exit codes": 5 a temporary error that more retries might fix; 3 and 4 directory and file
    // not found, 6 less serious errors that are not to be retried, 7 a fatal one, 8 and 10 limits of transfer and
    // duration reached, 9 nothing was to be transferred.
    Profile { name: "rclone", retry: &[5], never: &[3, 4, 6, 7, 8, 9, 10], ..PLAIN },
    // restic.readthedocs.io, "Scripting", "Exit codes": 1 the command failed, 11 the repository is locked; 3 some source
    // data could not be read, 10 there is no repository, 12 the password is wrong.
    Profile { name: "restic", retry: &[1, 11], never: &[3, 10, 12], ..PLAIN },
    // borgbackup's docs/internals/frontends.rst, "Message IDs": 80, 81 and 87 the connection was closed or is broken, 73
    // somebody else held the lock for too long; 1 and from 100 on warnings: it is done. So it tells since 1.4 with
    // BORG_EXIT_CODES=modern; else 2 is an error of any kind (docs/usage/general/return-codes.rst.inc).
    Profile {
        name: "borg",
        retry: &[73, 80, 81, 87],
        never: &BORG_WARNINGS,
        if_outage: &[2],
        environment: Some(("BORG_EXIT_CODES", "modern")),
    },
    // rsync(1), "EXIT VALUES": 10 error in socket I/O, 12 in the protocol's data stream, 30 and 35 time-outs of data and
    // of the connection; 1 usage, 3 and 4 wrong files and actions, 6 the log file, 25 the limit of deletions.
    Profile { name: "rsync", retry: &[10, 12, 30, 35], never: &[1, 3, 4, 6, 25], ..PLAIN },
    // ssh(1), "EXIT STATUS": the remote command's, or 255 where an error occurred.
    Profile { name: "ssh", retry: &[255], ..PLAIN },
    // curl(1), "EXIT CODES": 6 the host could not be resolved, 7 nor connected to, 28 a time-out, 52 an empty answer, 55
    // and 56 sending and receiving failed; 1 and 3 a protocol and a URL that can't be, 22 an HTTP error with --fail, 58 and
    // 60 certificates.
    Profile { name: "curl", retry: &[6, 7, 28, 52, 55, 56], never: &[1, 3, 22, 58, 60], ..PLAIN },
];

impl Profile {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        static PROFILES: [Profile; 6] = ALL;
        PROFILES.iter().find(|profile| profile.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::codes::{Exit, Judgement, Rules},
        *,
    };

    #[test]
    fn each_program_is_judged_by_its_own_codes() {
        use Judgement::{IfOutage, Later, Never, Retry};
        for (name, code, expected) in [
            ("rclone", 5, Retry),
            ("rclone", 6, Never),
            ("rclone", 7, Never),
            ("rclone", 1, IfOutage),
            ("rclone", 2, Never),
            ("restic", 1, Retry),
            ("restic", 11, Retry),
            ("restic", 10, Never),
            ("restic", 12, Never),
            ("restic", 2, Never),
            ("borg", 80, Retry),
            ("borg", 87, Retry),
            ("borg", 2, IfOutage),
            ("borg", 1, Never),
            ("borg", 99, IfOutage),
            ("borg", 100, Never),
            ("borg", 107, Never),
            ("borg", 127, Never),
            ("borg", 128, IfOutage),
            ("borg", 75, Later),
            ("rsync", 10, Retry),
            ("rsync", 12, Retry),
            ("rsync", 30, Retry),
            ("rsync", 35, Retry),
            ("rsync", 23, IfOutage),
            ("rsync", 1, Never),
            ("ssh", 255, Retry),
            ("ssh", 1, IfOutage),
            ("ssh", 127, Never),
            ("curl", 6, Retry),
            ("curl", 28, Retry),
            ("curl", 56, Retry),
            ("curl", 22, Never),
            ("curl", 60, Never),
            ("curl", 77, Never),
        ] {
            let rules = Rules { profile: Profile::named(name), ..Rules::default() };
            assert!(rules.profile.is_some());
            assert_eq!(rules.judge(Exit::Code(code)), expected, "{name} {code}");
        }
        assert!(Profile::named("rcp").is_none() && Profile::named("").is_none());
    }

    #[test]
    fn no_code_means_two_things() {
        for p in ALL {
            let mut all = [p.retry, p.never, p.if_outage].concat();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{}", p.name);
        }
    }
}
