//! This process: limits, capabilities, namespaces, programs it starts; becoming a daemon is in `daemon`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Resource};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags};

use super::errno::{Errno, Result};
use super::ffi;
use super::mountinfo::read_whole;

mod daemon;

pub use super::ffi::{Caught, SignalSet};
pub use daemon::{
    Daemon, Outcome, Reporter, Side, Waiter, close_inherited, detach, end_now, fork_daemon,
};

/// Signals this program knows, by their numbers.
pub mod signal {
    pub use libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
}

/// The soft limit of open files before it was raised.
static FILES_BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the soft limit of open files to the hard one, for this process; see [`program`].
///
/// # Errors
/// As setrlimit(2) says.
pub fn raise_file_limit() -> Result<()> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    FILES_BEFORE.get_or_init(|| limit.current);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit)?;
    Ok(())
}

/// Puts this process under the quotas and reserves of filesystems, as a kernel overlay is, whoever mounted it: what is
/// written is the callers'. To be called before credentials are read and threads are started.
///
/// # Errors
/// Those of capset(2).
pub fn keep_within_quotas() -> Result<()> {
    let mut own = rustix::thread::capabilities(None)?;
    own.effective.remove(CapabilitySet::SYS_RESOURCE);
    Ok(rustix::thread::set_capabilities(None, own)?)
}

/// The umask before it was cleared.
static UMASK_BEFORE: OnceLock<Mode> = OnceLock::new();

/// Clears the umask of this process; see [`program`]. Who serves a view makes objects for others: their umask comes
/// with each request, and ours must not come on top of it.
pub fn clear_umask() {
    let before = rustix::process::umask(Mode::empty());
    UMASK_BEFORE.get_or_init(|| before);
}

/// What this process makes from now on is for its user only.
pub fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// The umask of this process, where the kernel tells without changing it (since 4.7).
pub fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// Whether this process may mount, in its own user namespace.
pub fn may_mount() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether this process may make links and go into network namespaces, in its own user namespace.
pub fn may_configure_networks() -> bool {
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether this process is in a user namespace other than the first, or does not know. Nobody in there has privileges
/// over the whole system, such as to keep set-id bits on a file that is written.
pub fn in_user_namespace() -> bool {
    let all = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
    let map = read_whole(c"/proc/self/uid_map").unwrap_or_default();
    !std::str::from_utf8(&map).is_ok_and(all)
}

/// Whether this process opens files whatever their modes, and yet has no privileges over the whole system: root of a
/// user namespace.
pub fn is_rootless_root() -> bool {
    let Ok(CapabilitySets { effective, .. }) = rustix::thread::capabilities(None) else {
        return false;
    };
    effective.contains(CapabilitySet::DAC_OVERRIDE)
        && (in_user_namespace() || !effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Is a group among the supplementary ones of a thread? False when the thread is gone.
pub fn is_in_group(thread: u32, gid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups
        .unwrap_or_default()
        .split_ascii_whitespace()
        .any(|group| group.parse() == Ok(gid))
}

/// Effective user and group of this process.
pub fn effective_ids() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

/// Gives memory that was freed back to the system. Takes the longer the more was in use.
pub fn trim_memory() {
    ffi::memory::trim_memory();
}

/// Unmaps the code that this process started with, of which a daemon needs little. What it does need comes back from
/// the page cache.
pub fn forget_code() {
    ffi::memory::forget_code();
}

/// All threads take memory from one heap, which grows by 128 KiB at a time. Those that threads have of their own grow
/// by a page, with a system call for each. To be called before any thread is started.
pub fn share_heap() {
    ffi::memory::share_heap();
}

/// Ignores a hang-up, as a daemon does: its terminal is not its business.
pub fn ignore_hangup() {
    ffi::ignore_signal(libc::SIGHUP);
}

/// Makes `root` the root and working directory of the program that `command` will start.
///
/// # Errors
/// As open(2) says of `root`.
pub fn start_in_root(command: &mut Command, root: &OsStr) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    ffi::exec_in_root(command, root);
    Ok(())
}

/// A program that will start as if called by our caller: no signal blocked, the umask and the soft limit of files what
/// they were (programs that use select(2) rely on a low one).
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    let files = FILES_BEFORE
        .get()
        .copied()
        .unwrap_or_else(|| rustix::process::getrlimit(Resource::Nofile).current);
    ffi::exec_as_called(&mut command, files, UMASK_BEFORE.get().copied());
    command
}

/// Keeps a file open in the program of a command, which knows nothing of it.
pub fn inherit(command: &mut Command, file: impl AsFd) {
    ffi::inherit_fd(command, file);
}

/// Starts a program, with `option=FD` and then `arguments`, that writes to that fd when it is ready; false: it gave up.
///
/// # Errors
/// When it cannot be started.
pub fn start_until_ready(
    command: &mut Command,
    option: &str,
    arguments: &[String],
) -> std::io::Result<(Child, bool)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    command.arg(format!("{option}={}", theirs.as_raw_fd()));
    let command = ffi::inherit_fd(command.args(arguments), &theirs);
    let child = command.spawn()?;
    drop(theirs);
    let mut word = [0; 1];
    let read = retry_on_intr(|| rustix::io::read(&ours, &mut word));
    Ok((child, read == Ok(1)))
}

/// Sends `signal` to the process `pid`.
pub fn send_signal(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let signal = rustix::process::Signal::from_named_raw(signal);
    match (pid, signal) {
        (Some(pid), Some(signal)) => Ok(rustix::process::kill_process(pid, signal)?),
        _ => Err(Errno::EINVAL),
    }
}

// --- namespaces ----------------------------------------------------------------------------------------------------

/// Moves this process into a mount namespace of its own whose mounts nobody else sees. A plain user gets a user
/// namespace with it, in which it keeps its own uid and gid.
pub fn enter_private_namespace() -> Result<()> {
    if may_mount() {
        ffi::unshare(UnshareFlags::NEWNS)?;
    } else {
        let (uid, gid) = effective_ids();
        ffi::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        // The kernel lets a plain user map its gid only after giving up setgroups.
        write_to(c"/proc/self/setgroups", "deny")?;
        write_to(c"/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
        write_to(c"/proc/self/gid_map", &format!("{gid} {gid} 1"))?;
    }
    make_mounts_private()
}

/// As [`enter_private_namespace`], of this thread alone, which needs the privilege to mount.
pub fn enter_private_mounts() -> Result<()> {
    ffi::unshare_mounts()?;
    make_mounts_private()
}

fn make_mounts_private() -> Result<()> {
    let private =
        rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change(c"/", private)?;
    Ok(())
}

/// Moves this process into a user namespace, in which it is root, and a network namespace of its own, whose loopback it
/// switches on.
///
/// # Errors
/// As unshare(2) says: ENOSPC, EPERM where user namespaces are switched off.
pub fn enter_own_network() -> Result<()> {
    let (uid, gid) = effective_ids();
    ffi::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    write_to(c"/proc/self/setgroups", "deny")?;
    write_to(c"/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_to(c"/proc/self/gid_map", &format!("0 {gid} 1"))?;
    let mut changes = super::rtnl::Changes::new();
    changes.up(1);
    super::rtnl::Rtnl::open()?.apply(&changes)
}

/// Moves this process, which has one thread, into the user and network namespaces of another.
///
/// # Errors
/// As open(2), setns(2) say.
pub fn enter_namespaces_of(pid: u32) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open =
        |name: &str| rustix::fs::open(format!("/proc/{pid}/ns/{name}"), flags, Mode::empty());
    // Before the first is entered: the way to the second may be closed to who is in there.
    let (user, net) = (open("user")?, open("net")?);
    for (namespace, kind) in [
        (user, LinkNameSpaceType::User),
        (net, LinkNameSpaceType::Network),
    ] {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
    }
    Ok(())
}

/// When a process started, in ticks since the boot (proc_pid_stat(5)); none: it is not there.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let rest = stat.rsplit_once(')')?.1;
    // One that has ended, and that nobody has asked for yet, has nothing any more.
    let ended = rest.trim_start().starts_with(['Z', 'X']);
    rest.split_ascii_whitespace()
        .filter(|_| !ended)
        .nth(19)?
        .parse()
        .ok()
}

/// Memory that this process has resident, in bytes; none: nobody tells.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Does nothing, until a signal ends this process.
pub fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

fn write_to(path: &std::ffi::CStr, text: &str) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let written = retry_on_intr(|| rustix::io::write(&file, text.as_bytes()))?;
    if written == text.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_limit_rises_to_the_hard_one() {
        raise_file_limit().unwrap();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
