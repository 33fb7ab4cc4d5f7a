//! Landlock: the files within reach, no TCP port to bind, no signal and no abstract socket to other processes.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::Reach;
use crate::capability::Capability;

/// The newest that this was tried with; a kernel with an older one takes what it knows, and one with a newer one no more.
const NEWEST: ABI = ABI::V6;
/// Reading, and looking at what there is to read.
const READ: [AccessFs; 2] = [AccessFs::ReadFile, AccessFs::ReadDir];
/// With reading, what a database, a log and a socket need of their directory.
const WRITE: [AccessFs; 5] =
    [AccessFs::WriteFile, AccessFs::Truncate, AccessFs::MakeReg, AccessFs::RemoveFile, AccessFs::MakeSock];
const NAME: &str = "landlock";

/// Whether this kernel has it, in effect.
pub fn supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        strict.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
    })
}

/// What is granted, as it is on the disk now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Files and directories that are read.
    pub read: BTreeSet<PathBuf>,
    /// Directories that are written.
    pub write: BTreeSet<PathBuf>,
    /// Directories from which files are removed.
    pub remove: BTreeSet<PathBuf>,
    /// What would be written and is not there.
    pub missing: BTreeSet<PathBuf>,
}

impl Files {
    /// Finds where these are: through links, and for what is not there yet the nearest directory above.
    pub fn find(reach: &Reach) -> Self {
        let mut found = Self::default();
        for folder in &reach.read {
            found.read.extend(nearest(folder).into_iter().chain(real(folder)));
        }
        for file in &reach.files {
            // With the directory one that takes its place is read as well; a file of `/` itself stands for itself alone.
            let places = [Some(file.clone()), real(file)].into_iter().flatten();
            for place in places {
                match place.parent().filter(|folder| folder.parent().is_some()) {
                    Some(folder) => found.read.extend(nearest(folder)),
                    None => found.read.extend(place.exists().then_some(place)),
                }
            }
        }
        for folder in &reach.write {
            match real(folder) {
                Some(real) => drop(found.write.insert(real)),
                None => drop(found.missing.insert(folder.clone())),
            }
        }
        found.remove.extend(reach.remove.iter().filter_map(|folder| real(folder)));
        found
    }
}

fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

/// The path, or the nearest one above it that is there and is not all there is.
fn nearest(path: &Path) -> Option<PathBuf> {
    path.ancestors().filter(|above| above.parent().is_some()).find_map(real)
}

/// Restricts this thread and those that it starts.
pub(super) fn restrict(reach: &Reach) -> Capability {
    let found = Files::find(reach);
    match apply(&found) {
        Ok(status) => tell(&status, &found),
        Err(error) => Capability::missing(NAME, format!("not in force: {error}"), "see the kernel's log"),
    }
}

fn tell(status: &RestrictionStatus, found: &Files) -> Capability {
    let remedy =
        "use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and with landlock in its list of `lsm=`";
    let abi = match (&status.landlock, &status.ruleset) {
        (LandlockStatus::NotImplemented, _) => {
            return Capability::missing(
                NAME,
                "this kernel has none: every file of the agent's user is within reach",
                remedy,
            );
        }
        (LandlockStatus::NotEnabled, _) | (_, RulesetStatus::NotEnforced) => {
            return Capability::missing(
                NAME,
                "not enabled: every file of the agent's user is within reach",
                remedy,
            );
        }
        (LandlockStatus::Available { effective_abi, .. }, _) => *effective_abi as i32,
    };
    let written: Vec<String> = found.write.iter().map(|path| path.display().to_string()).collect();
    let written = if written.is_empty() { "nothing".to_owned() } else { written.join(", ") };
    let missing = match found.missing.first() {
        Some(folder) => format!("; {} is not there: made later, it takes a restart", folder.display()),
        None => String::new(),
    };
    let parts = match abi {
        ..=2 => "files, but for truncation",
        3 => "files",
        4 | 5 => "files and TCP ports",
        _ => "files, TCP ports, signals, abstract sockets",
    };
    Capability::works(NAME, format!("ABI {abi}: {parts}; written is {written}{missing}"))
}

fn apply(found: &Files) -> Result<RestrictionStatus, RulesetError> {
    let read: BitFlags<AccessFs> = READ.into_iter().collect();
    let write: BitFlags<AccessFs> = READ.into_iter().chain(WRITE).collect();
    let mut scopes = BitFlags::from(Scope::Signal);
    // A service manager in an old container listens at an abstract socket.
    if !std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| path.as_encoded_bytes().starts_with(b"@")) {
        scopes |= Scope::AbstractUnixSocket;
    }
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(scopes)?
        .create()?
        // Whoever connects from a source of its own is given a port by the kernel. All listeners are open by now.
        .add_rule(NetPort::new(0, AccessNet::BindTcp))?;
    let grants = [(&found.read, read), (&found.write, write), (&found.remove, AccessFs::RemoveFile.into())];
    for (path, access) in
        grants.into_iter().flat_map(|(paths, access)| paths.iter().map(move |p| (p, access)))
    {
        match PathFd::new(path) {
            Ok(fd) => ruleset = ruleset.add_rule(PathBeneath::new(fd, of_kind(path, access)))?,
            Err(error) => tracing::debug!(path = %path.display(), %error, "out of reach"),
        }
    }
    ruleset.restrict_self()
}

/// Of what is no directory, only what there is of a file.
fn of_kind(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    let file: io::Result<bool> = fs::metadata(path).map(|found| !found.is_dir());
    if file.unwrap_or(false) { access & AccessFs::from_file(NEWEST) } else { access }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn places_are_found_through_links_and_above_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        fs::create_dir_all(at("v1")).unwrap();
        fs::write(at("v1/netmon.toml"), "").unwrap();
        fs::create_dir(at("etc")).unwrap();
        symlink(at("v1/netmon.toml"), at("etc/netmon.toml")).unwrap();
        let set = |names: &[&str]| names.iter().map(|name| at(name)).collect::<BTreeSet<_>>();
        let reach = Reach {
            read: set(&["none/of/these"]),
            files: set(&["etc/netmon.toml", "late/secret"]),
            write: set(&["v1", "not/there"]),
            remove: set(&["etc", "nor/this"]),
        };
        let found = Files::find(&reach);
        assert_eq!(found.read, set(&["", "etc", "v1"]).into_iter().map(|p| real(&p).unwrap()).collect());
        assert_eq!(found.write, set(&["v1"]));
        assert_eq!(found.missing, set(&["not/there"]));
        assert_eq!(found.remove, set(&["etc"]));
    }

    #[test]
    fn a_file_of_the_root_does_not_bring_all_others() {
        let reach = Reach { files: [PathBuf::from("/none.toml")].into(), ..Reach::default() };
        assert_eq!(Files::find(&reach), Files::default());
        let reach = Reach { read: [PathBuf::from("/none/at/all")].into(), ..Reach::default() };
        assert_eq!(Files::find(&reach), Files::default());
    }
}
