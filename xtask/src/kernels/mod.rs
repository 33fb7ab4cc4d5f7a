//! The kernel matrix: other kernels under emulation, the committed object in each, its figures beside the kernel's own.
//!
//! Kernels and emulator are Debian's packages, unpacked below `target/kernels` and kept there: a second run needs no
//! network. Nothing is installed. The guest's first process is `netmon-guest` of the tests' package.

mod image;
mod machine;
mod modules;
pub mod packages;
mod report;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::debian;
use crate::step::{cargo, run, target};
use image::Image;
use machine::{Boot, Emulator};
use packages::Apt;
use report::Report;

/// Which kernels, and what to do with them.
#[derive(Args, Debug)]
pub struct Options {
    /// The kernels to boot; all of them if none is named.
    #[arg(long, value_delimiter = ',', value_enum)]
    kernels: Vec<Kernel>,
    /// The suites to run in each. `attach` boots, loads and attaches; the others hold our figures against the kernel's.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "attach")]
    suites: Vec<Suite>,
    /// Look for newer packages than those that are here already.
    #[arg(long)]
    update: bool,
    /// Let the processor run the guests itself (/dev/kvm) in place of emulating one.
    #[arg(long)]
    kvm: bool,
}

/// A kernel of Debian's, in its variant for virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kernel {
    /// Debian 11.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// Debian unstable.
    Newest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Every program is loaded and attached, and sees events.
    Attach,
    /// Segments sent again, under loss.
    Retransmit,
    /// Resets sent and received.
    Reset,
    /// Which device, over VLAN, bond, bridge, VRF and others.
    Attribution,
    /// Probes while the clock steps by an hour, and by a VRF.
    Probe,
    /// Verdicts of bonds, bridges, VLANs and VRFs.
    Links,
    /// The whole agent while the clock is set by a year.
    Clock,
    /// Each of them.
    All,
}

/// The package that depends on a suite's newest kernel for virtual machines.
const META: &str = "linux-image-cloud-amd64";
const EMULATOR: &str = "qemu-system-x86";
/// Programs of this machine that the suites call in the guest.
const PROGRAMS: [&str; 6] = ["ip", "tc", "nft", "ethtool", "ping", "ss"];
/// Booting and attaching takes ten seconds on an idle machine; a suite takes some minutes.
const ATTACH_LIMIT: Duration = Duration::from_secs(180);
const SUITE_LIMIT: Duration = Duration::from_secs(1500);

/// `cargo xtask kernels`.
///
/// # Errors
/// When a kernel can't be had or booted, or when a figure is off by more than is known and told.
pub fn perform(options: &Options) -> Result<()> {
    let kernels = if options.kernels.is_empty() { Kernel::value_variants() } else { &options.kernels };
    let all = Suite::value_variants();
    let all: Vec<Suite> = all.iter().copied().filter(|suite| *suite != Suite::All).collect();
    let suites = if options.suites.contains(&Suite::All) { &all } else { &options.suites };
    judge(Store::provide(kernels, options.update)?, suites, options.kvm)
}

/// The pass that belongs to every test run: each kernel boots, takes the object, has its clock stepped under probes and
/// under the whole agent, and its links judged.
///
/// # Errors
/// As [`perform`]. Outside CI, kernels that can't be had are told of and left out.
pub fn pass() -> Result<()> {
    match Store::provide(Kernel::value_variants(), false) {
        Err(e) if std::env::var_os("CI").is_none() => {
            println!("SKIPPED: {e:#}");
            Ok(())
        }
        provided => judge(provided?, &[Suite::Attach, Suite::Probe, Suite::Links, Suite::Clock], false),
    }
}

fn judge(store: Store, suites: &[Suite], kvm: bool) -> Result<()> {
    let guest = guest()?;
    let emulator = Emulator { unpacked: store.emulator, kvm };
    let machines = store.kernels.iter().map(|root| Machine::assemble(root, &guest));
    let machines: Vec<_> = machines.collect::<Result<_>>()?;
    let mut problems = Vec::new();
    for suite in suites {
        println!("{}", report::head(*suite == Suite::Attach));
        for (machine, told) in machines.iter().zip(run_all(&machines, &emulator, *suite)) {
            let found = match told {
                Ok(report) => {
                    print!("{report}");
                    report.problems()
                }
                Err(e) => {
                    println!("{}: {e:#}", machine.release);
                    vec![format!("{e:#}")]
                }
            };
            problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", machine.release)));
        }
    }
    ensure!(problems.is_empty(), "{} problems\n  {}", problems.len(), problems.join("\n  "));
    Ok(())
}

/// One suite on every machine, as many at once as there are processors: a guest has one, and an emulated one keeps one busy.
fn run_all(machines: &[Machine], emulator: &Emulator, suite: Suite) -> Vec<Result<Report>> {
    let queue = Mutex::new(machines.iter().enumerate());
    let told = Mutex::new(Vec::new());
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..processors.min(machines.len()) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((place, machine)) = next else { break };
                    let report = machine.run(emulator, suite);
                    told.lock().unwrap_or_else(PoisonError::into_inner).push((place, report));
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    told.sort_by_key(|(place, _)| *place);
    told.into_iter().map(|(_, report)| report).collect()
}

/// The guests' first process: the program that `NETMON_GUEST` names; otherwise this workspace's, built now and optimised, as most
/// of its time it is emulated.
fn guest() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("NETMON_GUEST") {
        return Ok(std::path::absolute(named)?);
    }
    let build = ["build", "--quiet", "--release", "--package", "netmon-tests", "--bin", "netmon-guest"];
    // With the committed object, whatever the caller builds with.
    run(cargo(&build).env_remove("NETMON_BPF_OBJECT"))?;
    Ok(target().join("release/netmon-guest"))
}

/// What came from Debian's packages, all of it before anything is built or booted.
#[derive(Debug)]
struct Store {
    /// Where the emulator is unpacked; `None` when it is installed.
    emulator: Option<PathBuf>,
    /// Where each kernel is unpacked.
    kernels: Vec<PathBuf>,
}

impl Store {
    /// Out of the cache, or from the mirror. All that can't be had is told together.
    fn provide(kernels: &[Kernel], update: bool) -> Result<Self> {
        ensure!(cfg!(target_arch = "x86_64"), "the guests run programs of this machine, which is no x86-64");
        let folder = target().join("kernels");
        let emulator = match debian::find("qemu-system-x86_64") {
            Some(_) => None,
            None => Some(kept(&folder.join("qemu"), update, |apt, root| {
                Apt::of_machine(apt)?.unpack_with_dependencies(EMULATOR, root)
            })?),
        };
        let (mut roots, mut missing) = (Vec::new(), Vec::new());
        for kernel in kernels {
            match kept(&folder.join(kernel.name()), update, |apt, root| fetch(*kernel, apt, root)) {
                Ok(root) => roots.push(root),
                Err(e) => missing.push(format!("\n  {e:#}")),
            }
        }
        ensure!(missing.is_empty(), "kernels are missing (--kernels leaves them out):{}", missing.concat());
        Ok(Self { emulator, kernels: roots })
    }
}

/// A kernel with its image, ready to boot.
#[derive(Debug)]
struct Machine {
    release: String,
    kernel: PathBuf,
    image: PathBuf,
}

impl Machine {
    /// Makes the image for the kernel unpacked at `root`, beside it.
    fn assemble(root: &Path, guest: &Path) -> Result<Self> {
        let (release, modules) = modules_of(root)?;
        let packed = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let packed = packed.into_iter().find(|path| path.exists());
        let machine = Self {
            kernel: packed.with_context(|| format!("no vmlinuz in {}", root.display()))?,
            image: root.with_file_name("image.cpio"),
            release,
        };
        let mut image = Image::default();
        image.program("/init", guest)?;
        for name in PROGRAMS {
            let file = debian::find(name).with_context(|| format!("no `{name}` on this machine"))?;
            image.program(&format!("/usr/bin/{name}"), &file)?;
        }
        // Names of protocols; nft has none of its own.
        let protocols = Path::new("/etc/protocols");
        if protocols.exists() {
            image.copy(protocols, protocols)?;
        }
        image.modules(&modules::collect(&modules).with_context(|| machine.release.clone())?);
        fs::write(&machine.image, image.finish())?;
        Ok(machine)
    }

    /// Boots a machine and hears what the suite tells.
    fn run(&self, emulator: &Emulator, suite: Suite) -> Result<Report> {
        let console = self.image.with_file_name(format!("{}.log", suite.name()));
        let boot = Boot {
            kernel: &self.kernel,
            image: &self.image,
            arguments: &[suite.name()],
            console: &console,
            limit: if suite == Suite::Attach { ATTACH_LIMIT } else { SUITE_LIMIT },
        };
        let mut report = Report::new(&self.release, &console);
        emulator.run(&boot, |line| report.hear(line)).with_context(|| suite.name())?;
        Ok(report)
    }
}

/// Newest kernel that the suites of a Debian release have.
fn fetch(kernel: Kernel, folder: &Path, root: &Path) -> Result<()> {
    let apt = Apt::of_suites(folder, kernel.suites())?;
    let image = apt.dependencies(META)?.into_iter().find(|name| name.starts_with("linux-image-"));
    let image = image.with_context(|| format!("{META} names no kernel"))?;
    let release = image.trim_start_matches("linux-image-").to_owned();
    let wanted = kernel.name();
    ensure!(
        kernel == Kernel::Newest || release.starts_with(&format!("{wanted}.")),
        "Debian's mirror has Linux {release} in place of {wanted}: leave it out by --kernels"
    );
    // The packages of a kernel carry its release in their names: one of them, or several from 7.0 on.
    let mut packages = vec![image];
    let mut at = 0;
    while let Some(package) = packages.get(at) {
        let more = apt.dependencies(package)?;
        let more = more.into_iter().filter(|name| name.starts_with("linux-") && name.ends_with(&release));
        let new: Vec<_> = more.filter(|name| !packages.contains(name)).collect();
        packages.extend(new);
        at += 1;
    }
    apt.unpack(&packages, root)
}

/// `folder/root` as `fill` left it, now or in an earlier run; `fill` gets a folder for APT as well.
fn kept(folder: &Path, update: bool, fill: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() && !update {
        return Ok(root);
    }
    println!("fetching {}", folder.file_name().unwrap_or_default().display());
    let (apt, part) = (folder.join("apt"), folder.join("part"));
    for rest in [&apt, &part] {
        if rest.exists() {
            fs::remove_dir_all(rest)?;
        }
    }
    fs::create_dir_all(folder)?;
    fill(&apt, &part).with_context(|| {
        format!("{} can't be had from Debian's packages", folder.file_name().unwrap_or_default().display())
    })?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::rename(&part, &root)?;
    fs::remove_dir_all(&apt)?;
    Ok(root)
}

/// The only folder of modules there is, and the release that is its name.
fn modules_of(root: &Path) -> Result<(String, PathBuf)> {
    let folders = ["lib/modules", "usr/lib/modules"].map(|folder| fs::read_dir(root.join(folder)));
    let mut found = folders.into_iter().flatten().flatten().flatten();
    let entry = found.next().with_context(|| format!("no modules in {}", root.display()))?;
    Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

impl Kernel {
    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_10 => &["bullseye", "bullseye-security"],
            Self::V6_1 => &["bookworm", "bookworm-security"],
            Self::V6_12 => &["trixie", "trixie-security"],
            Self::Newest => &["sid"],
        }
    }
}

impl Suite {
    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}
