//! Debian packages, fetched by apt once and kept below the target directory, and unpacked as layers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Layers of packages, bottom first. The lists are closed: nothing is resolved, so nothing surprises.
pub const LIBRARIES: &[&str] = &[
    "base-files",
    "libc6",
    "libgcc-s1",
    "zlib1g",
    "libselinux1",
    "libpcre2-8-0",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libcrypt1",
    "libtinfo6",
    "libbz2-1.0",
    "liblzma5",
    "libmd0",
    "libssl3",
    "libexpat1",
    "libffi8",
    "libuuid1",
];
/// Shell and tools.
pub const TOOLS: &[&str] = &[
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "tar",
    "gzip",
    "grep",
    "sed",
    "diffutils",
    "perl-base",
];
/// Python with its standard library.
pub const PYTHON: &[&str] = &[
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libncursesw6",
    "libdb5.3",
    "libnsl2",
    "libtirpc3",
    "media-types",
];
/// A C compiler with the headers it needs.
pub const COMPILER: &[&str] = &[
    "tcc",
    "libtcc-dev",
    "libc6-dev",
    "linux-libc-dev",
    "libcrypt-dev",
];
/// Programs whose data others rely on.
pub const KEEPERS: &[&str] = &["git", "sqlite3", "libsqlite3-0", "libreadline8"];

/// The packages as files.
pub struct Packages {
    cache: PathBuf,
}

impl Packages {
    /// Downloads what the cache lacks; with everything there, the network is not touched.
    pub fn fetch() -> Packages {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-packages");
        fs::create_dir_all(&cache).expect("create the package cache");
        let packages = Packages { cache };
        let wanted = [LIBRARIES, TOOLS, PYTHON, COMPILER, KEEPERS].concat();
        let missing: Vec<&str> = wanted
            .into_iter()
            .filter(|name| packages.file(name).is_none())
            .collect();
        if !missing.is_empty() {
            packages.download(&missing);
        }
        packages
    }

    fn download(&self, missing: &[&str]) {
        // Into a directory of its own: an interrupted download must not look like a package.
        let fresh = self.cache.join("fresh");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).expect("remove an old download");
        }
        fs::create_dir(&fresh).expect("create the download directory");
        let out = Command::new("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
            .args(missing)
            .current_dir(&fresh)
            .stdin(Stdio::null())
            .output()
            .expect("run apt-get (this test needs Debian)");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.success(),
            "apt-get download of {missing:?} failed. Is the network there, was `apt-get update` run?\n{said}"
        );
        for entry in fs::read_dir(&fresh).expect("list the download") {
            let entry = entry.expect("list the download");
            fs::rename(entry.path(), self.cache.join(entry.file_name())).expect("keep a package");
        }
        fs::remove_dir(&fresh).expect("remove the download directory");
    }

    /// `NAME_VERSION_ARCH.deb`, as apt names it.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let prefix = format!("{name}_");
        let files: BTreeSet<PathBuf> = fs::read_dir(&self.cache)
            .expect("list the package cache")
            .map(|entry| entry.expect("list the package cache").path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|f| f.to_string_lossy().starts_with(&prefix))
            })
            .collect();
        files.into_iter().next_back()
    }

    /// Unpacks packages into one layer.
    pub fn unpack(&self, names: &[&str], layer: &Path) {
        for name in names {
            let file = self
                .file(name)
                .unwrap_or_else(|| panic!("apt-get download brought no file for {name}"));
            let out = Command::new("dpkg-deb")
                .arg("-x")
                .args([&file, layer])
                .output()
                .expect("run dpkg-deb");
            assert!(
                out.status.success(),
                "dpkg-deb -x {}: {}",
                file.display(),
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
}
