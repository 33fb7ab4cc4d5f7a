//! The container: the program, the glibc it runs with and the authorities it trusts, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::deb::copy;
use super::programs::output;
use super::tree::put;
use super::{VERSION, fresh};
use crate::debian;
use crate::kernels::packages::Apt;
use crate::step::target;

/// Where its glibc and its certificates are from.
const SUITES: [&str; 3] = ["bookworm", "bookworm-updates", "bookworm-security"];
const PACKAGES: [&str; 2] = ["libc6", "ca-certificates"];

/// The libraries that the program names, and what loads them.
const LIBRARIES: [&str; 5] =
    ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"];

/// Writes the build context to `folder`, and the image beside it where there is buildah and this is root.
///
/// # Errors
/// When Debian's packages can't be had, or buildah refuses.
pub fn make(source: &Path, tree: &Path, folder: &Path, epoch: u64) -> Result<Option<PathBuf>> {
    let packaging = source.join("netmon-agent/packaging/container");
    let root = fresh(folder)?.join("root");
    fs::create_dir_all(&root)?;
    fs::copy(packaging.join("Containerfile"), folder.join("Containerfile"))?;
    for file in ["usr/bin/netmon", "usr/share/doc/netmon/THIRD-PARTY"] {
        put(&root, Path::new(file), &fs::read(tree.join(file))?, file.starts_with("usr/bin"))?;
    }
    system(&root)?;
    for (file, text) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/:/sbin/nologin\nnetmon:x:65532:65532:netmon:/var/lib/netmon:/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\nnetmon:x:65532:\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ] {
        put(&root, Path::new(file), text.as_bytes(), false)?;
    }
    for folder in ["run/netmon", "var/lib/netmon", "etc/netmon", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder))?;
    }
    if debian::find("buildah").is_none() || !debian::is_root() {
        println!(
            "no image, as there is no buildah here or this is not root; its context: {}",
            folder.display()
        );
        return Ok(None);
    }
    image(folder, epoch).map(Some)
}

/// Glibc and the authorities' certificates, of Debian's packages.
fn system(root: &Path) -> Result<()> {
    let kept = target().join("dist-debian");
    let unpacked = kept.join("root");
    let apt = Apt::of_suites(&kept, &SUITES)?;
    apt.unpack(&PACKAGES.map(str::to_owned), &fresh(&unpacked)?)?;
    for library in LIBRARIES {
        let from = unpacked.join("lib/x86_64-linux-gnu").join(library);
        let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        put(root, &Path::new("usr/lib/x86_64-linux-gnu").join(library), &bytes, true)?;
    }
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    fs::create_dir_all(root.join("lib64"))?;
    let loader = Path::new("../usr/lib/x86_64-linux-gnu").join(LIBRARIES[0]);
    std::os::unix::fs::symlink(loader, root.join("lib64").join(LIBRARIES[0]))?;
    let mut authorities = Vec::new();
    for entry in fs::read_dir(unpacked.join("usr/share/ca-certificates/mozilla"))? {
        authorities.push(entry?.path());
    }
    authorities.sort();
    let bundle: Vec<u8> = authorities.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?.concat();
    put(root, Path::new("etc/ssl/certs/ca-certificates.crt"), &bundle, false)?;
    for package in PACKAGES {
        let terms = format!("usr/share/doc/{package}");
        copy(&unpacked.join(&terms), &root.join(&terms))?;
    }
    Ok(())
}

/// An OCI archive that every engine loads.
fn image(folder: &Path, epoch: u64) -> Result<PathBuf> {
    let archive = folder.with_file_name(format!("netmon-{VERSION}-container.tar"));
    let storage = fresh(&folder.with_file_name("storage"))?;
    let name = format!("localhost/netmon:{VERSION}");
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run")).args(arguments);
        command
    };
    let mut build = buildah(&["build", "--isolation", "chroot", "--format", "oci"]);
    build.args(["--timestamp", &epoch.to_string(), "--build-arg"]).arg(format!("VERSION={VERSION}"));
    output(build.args(["--tag", &name]).arg(folder))?;
    // As a folder first: an archive of buildah's has the time at which it was written.
    let layout = fresh(&folder.with_file_name("layout"))?;
    output(&mut buildah(&["push", "--quiet", &name, &format!("oci:{}:{name}", layout.display())]))?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]);
    tar.arg(format!("--mtime=@{epoch}")).arg("--file").arg(&archive).arg("--directory").arg(&layout).arg(".");
    output(&mut tar)?;
    output(&mut buildah(&["rmi", "--all", "--force"]))?;
    Ok(archive)
}
