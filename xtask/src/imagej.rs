//! The real ImageJ, without a window, for `cargo xtask oracle`: `ij.jar` and a Java that runs a program's source.
//!
//! The jar is the one that `UNET_IMAGEJ` names, the system's, or Debian's package unpacked under cargo's target folder; nothing of the system is
//! changed for it. A Java that is missing is installed by apt where this runs as root. By hand it is said aloud where there is neither, and
//! that part is left out; where continuous integration runs (`CI` is set), that is an error.

use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's package of the jar, and where it lies in there.
const PACKAGE: &str = "libij-java";
const JAR: &str = "usr/share/java/ij.jar";
/// Debian's package of a Java with a compiler, without windows.
const JAVA: &str = "default-jdk-headless";
const REMEDY: &str = "needs ImageJ and a JDK of 11 or later (Debian: apt install libij-java default-jdk-headless; elsewhere name ij.jar in UNET_IMAGEJ)";

/// ImageJ, ready to run a program of ours.
pub struct ImageJ {
    jar: PathBuf,
}

impl ImageJ {
    /// What this machine has, or what Debian's archive gives; `None`, said aloud, where that is nothing.
    pub fn find(target: &Path) -> Result<Option<Self>> {
        match find_java().and_then(|()| find_jar(target)) {
            Ok(jar) => Ok(Some(Self { jar })),
            Err(error) if std::env::var_os("CI").is_some() => Err(error.context(REMEDY)),
            Err(error) => {
                eprintln!("SKIPPED ImageJ's part: {REMEDY}: {error:#}");
                Ok(None)
            }
        }
    }

    /// A command that runs the Java source `program`.
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new("java");
        command.arg("-Djava.awt.headless=true").arg("-cp").arg(&self.jar).arg(program);
        command
    }
}

/// A `java` that compiles what it is to run.
fn find_java() -> Result<()> {
    let compiles = || {
        process::capture(Command::new("java").arg("--list-modules")).and_then(|modules| {
            if modules.contains("jdk.compiler") { Ok(()) } else { bail!("this java has no compiler") }
        })
    };
    compiles().or_else(|_| {
        apt(&["install", "--yes", "--no-install-recommends", JAVA], Path::new(".")).and_then(|()| compiles())
    })
}

fn find_jar(target: &Path) -> Result<PathBuf> {
    if let Some(jar) = std::env::var_os("UNET_IMAGEJ").map(PathBuf::from) {
        return if jar.is_file() { Ok(jar) } else { bail!("UNET_IMAGEJ names {}, which is no file", jar.display()) };
    }
    let folder = target.join("imagej");
    let unpacked = folder.join(JAR);
    if let Some(jar) = [Path::new("/").join(JAR), unpacked.clone()].into_iter().find(|jar| jar.is_file()) {
        return Ok(jar);
    }
    eprintln!("imagej: unpacking Debian's {PACKAGE} into {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    apt(&["download", PACKAGE], &folder)?;
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let package = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.with_context(|| format!("apt-get left no package in {}", folder.display()))?;
    process::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    if unpacked.is_file() { Ok(unpacked) } else { bail!("{PACKAGE} has no {JAR}") }
}

/// Runs apt-get in `folder`, once more with new lists where it fails at first.
fn apt(arguments: &[&str], folder: &Path) -> Result<()> {
    let get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive");
        process::capture(&mut command).map(drop)
    };
    get(arguments).or_else(|_| get(&["update"]).and_then(|()| get(arguments)))
}
