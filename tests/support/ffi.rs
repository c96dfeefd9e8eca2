//! The few calls that have no safe wrapper: a mount namespace for one thread, a program without some system calls, and
//! memory mappings. The only file of the tests with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Gives the calling thread a mount namespace of its own (and, as it implies, its own working directory and umask).
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS (with the CLONE_FS it implies) shares no memory and no file descriptor table differently; it
    // only affects path lookups of this thread, and no code keeps assumptions about those across this call.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives the calling thread, and those it starts later, a network namespace of its own.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET changes nothing but which network new sockets of this thread belong to.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes these system calls fail with ENOSYS in the program, as on a kernel that does not know them (seccomp(2); root).
pub fn without_syscalls(command: &mut Command, numbers: &[libc::c_long]) {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANSWER: u32 = libc::BPF_RET | libc::BPF_K;
    let op = |code: u32, otherwise: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: otherwise,
        k,
    };
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    // The number is the first word of what a filter sees.
    let mut filter = vec![op(LOAD, 0, 0)];
    for number in numbers {
        filter.extend([op(IS, 1, *number as u32), op(ANSWER, 0, refused)]);
    }
    filter.push(op(ANSWER, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the program and its instructions outlive the call, which copies them.
        let done = unsafe {
            let mode = libc::SECCOMP_MODE_FILTER;
            libc::prctl(libc::PR_SET_SECCOMP, mode, std::ptr::from_ref(&program))
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec only prctl(2) is called, and nothing is allocated.
    unsafe { command.pre_exec(install) };
}

/// Of the machines these tests run on.
const PAGE_BYTES: usize = 4096;

/// How a file is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    SharedRead,
    SharedWrite,
    PrivateWrite,
    SharedExec,
}

/// A mapping of the first bytes of a file. The file must be at least that long for as long as the map is used.
pub struct Map {
    start: *mut libc::c_void,
    len: usize,
}

impl Map {
    /// Maps `len` bytes from the file's start.
    pub fn new(fd: impl AsFd, len: usize, how: Mapping) -> io::Result<Map> {
        let (prot, flags) = match how {
            Mapping::SharedRead => (libc::PROT_READ, libc::MAP_SHARED),
            Mapping::SharedWrite => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED),
            Mapping::PrivateWrite => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE),
            Mapping::SharedExec => (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_SHARED),
        };
        // SAFETY: a new mapping at an address the kernel chooses overlaps no memory of ours; the fd is valid.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                flags,
                fd.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Map { start, len })
        }
    }

    /// What the mapping shows now.
    pub fn bytes(&self) -> Vec<u8> {
        let from = self.start.cast::<u8>();
        // SAFETY: every index is below `len`, inside the readable mapping; volatile, as the file changes under it.
        (0..self.len)
            .map(|i| unsafe { from.add(i).read_volatile() })
            .collect()
    }

    /// Writes at the start of a writable mapping.
    pub fn write(&mut self, data: &[u8]) {
        assert!(data.len() <= self.len, "the mapping is too short");
        let to = self.start.cast::<u8>();
        for (i, byte) in data.iter().enumerate() {
            // SAFETY: inside the mapping by the assertion above; the caller mapped it writable.
            unsafe { to.add(i).write_volatile(*byte) };
        }
    }

    /// As `bytes`, by way of `/proc/self/mem`: a page that cannot be had is an error and no signal.
    pub fn peek(&self) -> io::Result<Vec<u8>> {
        let mut data = vec![0; self.len];
        std::fs::File::open("/proc/self/mem")?.read_exact_at(&mut data, self.start as u64)?;
        Ok(data)
    }

    /// As `write`, by way of `/proc/self/mem`; also an error: the mapping is not writable.
    pub fn poke(&mut self, data: &[u8]) -> io::Result<()> {
        assert!(data.len() <= self.len, "the mapping is too short");
        let memory = std::fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/mem")?;
        memory.write_all_at(data, self.start as u64)
    }

    /// How many of its pages are in memory, read by whomever.
    pub fn resident(&self) -> io::Result<usize> {
        let mut pages = vec![0_u8; self.len.div_ceil(PAGE_BYTES)];
        // SAFETY: start and length are those of the live mapping, and the vector has a byte for each of its pages.
        let done = unsafe { libc::mincore(self.start, self.len, pages.as_mut_ptr()) };
        if done == 0 {
            Ok(pages.iter().filter(|page| **page & 1 == 1).count())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Writes dirty pages back and waits for it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: start and length are those of the live mapping.
        let done = unsafe { libc::msync(self.start, self.len, libc::MS_SYNC) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

// SAFETY: the address is valid in all threads, and the mapping has one owner.
unsafe impl Send for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing borrows from it (`bytes` copies).
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// truncate(2), by path.
pub fn truncate(path: &std::ffi::CStr, len: u64) -> io::Result<()> {
    // SAFETY: a NUL-terminated string that lives across the call.
    let done = unsafe { libc::truncate(path.as_ptr(), len as libc::off_t) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
