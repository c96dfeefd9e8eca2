//! Files and errors in words that are the same on every mount.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};

use super::snapshot::{self, Entry, Snapshot};

/// Opens by words; see `Steps::open`.
pub fn open(path: &Path, flags: &str) -> io::Result<File> {
    let (mut bits, mut access) = (0, 0);
    for word in flags.split(',') {
        match word {
            "r" => access = libc::O_RDONLY,
            "w" => access = libc::O_WRONLY,
            "rw" => access = libc::O_RDWR,
            "path" => bits |= libc::O_PATH,
            "creat" => bits |= libc::O_CREAT,
            "excl" => bits |= libc::O_EXCL,
            "trunc" => bits |= libc::O_TRUNC,
            "append" => bits |= libc::O_APPEND,
            "direct" => bits |= libc::O_DIRECT,
            "sync" => bits |= libc::O_SYNC,
            "noatime" => bits |= libc::O_NOATIME,
            "nonblock" => bits |= libc::O_NONBLOCK,
            "dir" => bits |= libc::O_DIRECTORY,
            "tmpfile" => bits |= libc::O_TMPFILE,
            other => panic!("no such open flag: {other}"),
        }
    }
    // std's OpenOptions refuses what open(2) allows, O_RDONLY|O_TRUNC for one.
    let all = OFlags::from_bits_retain((bits | access | libc::O_CLOEXEC) as u32);
    let fd = rustix::fs::open(path, all, Mode::from_raw_mode(0o644))?;
    Ok(File::from(fd))
}

/// lstat(2).
pub fn lstat(path: &Path) -> io::Result<Stat> {
    Ok(rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Kind, mode, owner; size of files, numbers of devices.
pub fn describe(stat: &Stat) -> String {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut text = format!(
        "{} {:04o} {}:{}",
        snapshot::kind_name(kind),
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid
    );
    match kind {
        FileType::RegularFile => text += &format!(" {}", stat.st_size),
        FileType::CharacterDevice | FileType::BlockDevice => {
            let dev = stat.st_rdev;
            text += &format!(" {}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        }
        _ => {}
    }
    text
}

/// What a layer holds at a path: see `Steps::upper`.
pub fn on_disk(path: &Path) -> io::Result<String> {
    let stat = match lstat(path) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok("absent".into()),
        other => other?,
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
        return Ok(format!(
            "whiteout {:04o} {}:{}",
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid
        ));
    }
    let mut text = describe(&stat);
    if let Some(value) = snapshot::xattrs(path)?.get("trusted.overlay.opaque") {
        text += &format!(" opaque={}", value.escape_ascii());
    }
    Ok(text)
}

/// A directory's names: see `Steps::ls`.
pub fn list(dir: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for name in snapshot::names(dir)? {
        let mut text = name.as_encoded_bytes().escape_ascii().to_string();
        match dir.join(&name).symlink_metadata() {
            Ok(m) if m.is_dir() => text.push('/'),
            Ok(_) => {}
            Err(e) => text += &format!("({})", errno_name(&e)),
        }
        names.push(text);
    }
    names.sort();
    Ok(names.join(" "))
}

/// (name, d_ino) of all entries, `.` and `..` included.
pub fn entries(dir: &Path) -> io::Result<Vec<(String, u64)>> {
    let fd = rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut stream = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut all = Vec::new();
    while let Some(entry) = stream.next() {
        let entry = entry?;
        all.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.ino(),
        ));
    }
    Ok(all)
}

/// What a work directory holds beyond its skeleton, the index (14.2) and whiteouts kept for sharing (3.3).
pub fn residue(work: &Path) -> io::Result<Vec<String>> {
    let tree = Snapshot::take(work)?;
    let skeleton = |path: &str, e: &Entry| {
        let known_dir = matches!(path, "." | "work" | "index") && e.kind == FileType::Directory;
        let lock = !path.contains('/')
            && path.contains("lock")
            && e.kind == FileType::RegularFile
            && e.size == 0;
        let index = path.starts_with("index/00fb") && has_names(e);
        let in_work = path.starts_with("work/") || path.starts_with("index/#");
        let shared = e.is_whiteout() || e.may_be_marker();
        known_dir || lock || index || (in_work && shared)
    };
    let left = tree
        .entries
        .iter()
        .filter(|(path, e)| !matches!(e, Ok(e) if skeleton(path, e)));
    Ok(left.map(|(path, _)| path.clone()).collect())
}

/// The entries of an index below a work directory: see `Steps::index`.
pub fn index_entries(work: &Path) -> io::Result<String> {
    let tree = match Snapshot::take(&work.join("index")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok("none".into()),
        other => other?,
    };
    let entries = tree
        .entries
        .iter()
        .filter(|(path, _)| path.starts_with("00fb"));
    let mut lines: Vec<String> = entries
        .map(|(path, entry)| match entry {
            Ok(e) => {
                let names = e
                    .xattrs
                    .get("trusted.overlay.nlink")
                    .cloned()
                    .unwrap_or_default();
                let kind = snapshot::kind_name(e.kind);
                format!("{kind} {} {}", e.nlink, names.escape_ascii())
            }
            Err(code) => format!("{path} {code}"),
        })
        .collect();
    lines.sort();
    Ok(lines.join(", "))
}

/// Has the file of an index entry a name in the merged view? The mark says how many more than it has links; after a
/// crash, how many more than the lower file has.
fn has_names(entry: &Entry) -> bool {
    let mark = ["trusted.overlay.nlink", "user.overlay.nlink"]
        .iter()
        .find_map(|name| entry.xattrs.get(*name))
        .and_then(|mark| std::str::from_utf8(mark).ok())
        .unwrap_or_default();
    let more = mark.strip_prefix('U').and_then(|more| more.parse().ok());
    mark.starts_with('L') || more.is_some_and(|more: i64| i64::from(entry.nlink) + more > 0)
}

/// Short content as it is, long content by its length and ends.
pub fn brief(data: Vec<u8>) -> String {
    if data.len() <= 64 {
        return format!("\"{}\"", data.escape_ascii());
    }
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hash, &data);
    format!(
        "{} bytes #{:016x}",
        data.len(),
        std::hash::Hasher::finish(&hash)
    )
}

/// The same error once more.
pub fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::other(error.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// The name of an error as in errno(3).
pub fn errno_name(error: &io::Error) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::ERANGE, "ERANGE"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENODATA, "ENODATA"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ECONNABORTED, "ECONNABORTED"),
        (libc::ESTALE, "ESTALE"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ENOTTY, "ENOTTY"),
    ];
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    NAMES
        .iter()
        .find(|(c, _)| *c == code)
        .map_or_else(|| format!("errno {code}"), |(_, name)| (*name).into())
}
