//! The kernel's own account of requests to a FUSE daemon and of a thread's system calls, read from an instance of
//! tracefs that nobody else uses: other tests and mounts do not show in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;

const TRACEFS: &str = "/sys/kernel/tracing";
/// How long the daemon may take to answer what nobody waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Events kept, in KiB for each CPU.
const BUFFER_KIB: &str = "4096";

/// A trace of some events, gone when dropped.
pub struct Trace {
    instance: PathBuf,
}

impl Trace {
    /// Mounts tracefs where it is not (in this mount namespace), and begins with no events.
    pub fn new() -> io::Result<Trace> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let instances = Path::new(TRACEFS).join("instances");
        if !instances.exists() {
            rustix::mount::mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), None)?;
        }
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let instance = instances.join(format!("plyfs-{}-{n}", std::process::id()));
        fs::create_dir(&instance)?;
        let trace = Trace { instance };
        fs::write(trace.instance.join("buffer_size_kb"), BUFFER_KIB)?;
        Ok(trace)
    }

    /// Records an event where a filter holds.
    pub fn watch(&self, event: &str, filter: &str) -> io::Result<()> {
        let event = self.instance.join("events").join(event);
        fs::write(event.join("filter"), filter)?;
        fs::write(event.join("enable"), "1")
    }

    /// Forgets what was recorded.
    pub fn clear(&self) -> io::Result<()> {
        fs::write(self.instance.join("trace"), "")
    }

    /// Goes on, or pauses.
    pub fn switch(&self, on: bool) -> io::Result<()> {
        fs::write(self.instance.join("tracing_on"), if on { "1" } else { "0" })
    }

    /// What was recorded, a line for each event.
    pub fn lines(&self) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(self.instance.join("trace"))?;
        let events = text.lines().filter(|line| !line.starts_with('#'));
        Ok(events.map(str::to_string).collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _off = fs::write(self.instance.join("events/enable"), "0");
        if let Err(error) = fs::remove_dir(&self.instance) {
            eprintln!("{}: {error}", self.instance.display());
        }
    }
}

/// The requests that one mount sends to its daemon.
pub struct Requests(Trace);

impl Requests {
    /// Of the mount at a path.
    pub fn of(mount: &Path) -> io::Result<Requests> {
        let trace = Trace::new()?;
        // The connection's number is that of the device.
        let connection = rustix::fs::minor(rustix::fs::stat(mount)?.st_dev);
        for event in ["fuse/fuse_request_send", "fuse/fuse_request_end"] {
            trace.watch(event, &format!("connection == {connection}"))?;
        }
        Ok(Requests(trace))
    }

    /// What is sent while `action` runs, and what that leaves to do: names in the order of sending, those that nobody
    /// waits for in parentheses.
    pub fn during(&self, action: impl FnOnce()) -> io::Result<String> {
        self.settle()?;
        self.0.clear()?;
        action();
        self.settle()?;
        let sent = self.0.lines()?;
        let names: Vec<_> = sent.iter().filter_map(|line| name(line)).collect();
        Ok(names.join(" "))
    }

    /// Waits until all that was sent is answered.
    fn settle(&self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            let lines = self.0.lines()?;
            let count = |event| lines.iter().filter(|line| line.contains(event)).count();
            if count("fuse_request_send:") <= count("fuse_request_end:") {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("unanswered: {lines:#?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// `... fuse_request_send: connection 52 req 4 opcode 1 (FUSE_LOOKUP) len 46`: LOOKUP.
fn name(line: &str) -> Option<String> {
    let (_, event) = line.split_once("fuse_request_send: ")?;
    let (_, name) = event.split_once("(FUSE_")?;
    let (name, _) = name.split_once(')')?;
    Some(match name {
        "RELEASE" | "RELEASEDIR" => format!("({name})"),
        _ => name.to_string(),
    })
}

/// The system calls of one thread. Not counted: what debug builds do at each close (fcntl), waiting for
/// others, and memory.
pub struct Syscalls(Trace);

impl Syscalls {
    /// Of the calling thread.
    pub fn of_this_thread() -> io::Result<Syscalls> {
        let trace = Trace::new()?;
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let filter = [
            libc::SYS_fcntl,
            libc::SYS_futex,
            libc::SYS_sched_yield,
            libc::SYS_brk,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_mprotect,
            libc::SYS_madvise,
            libc::SYS_getrandom,
        ]
        .map(|call| format!(" && id != {call}"));
        let filter = format!("common_pid == {thread}{}", filter.concat());
        trace.watch("raw_syscalls/sys_enter", &filter)?;
        Ok(Syscalls(trace))
    }

    /// How many `action` makes, and those that end the count: see how many these are by doing nothing.
    pub fn during(&self, action: impl FnOnce()) -> io::Result<usize> {
        self.0.switch(false)?;
        self.0.clear()?;
        // Reading the account must not be recorded, or it would never end.
        self.0.switch(true)?;
        action();
        self.0.switch(false)?;
        Ok(self.0.lines()?.len())
    }
}
