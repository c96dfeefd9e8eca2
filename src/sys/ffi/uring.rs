//! io_uring(7), as far as it is needed here: submissions of 128 bytes, completions, and a word from another thread.

use std::ffi::{c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::check;
use super::mapping::Mapping;
use crate::sys::errno::{Errno, Result};

/// Opcodes of submissions.
const OP_MSG_RING: u8 = 40;
const OP_URING_CMD: u8 = 46;

const SETUP_SUBMIT_ALL: u32 = 1 << 7;
const SETUP_SQE128: u32 = 1 << 10;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
const SETUP_NO_SQARRAY: u32 = 1 << 16;

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Who waits does not count as waiting for a disk (Linux 6.15); a thread without requests would show as a busy one.
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const FEATURE_NO_IOWAIT: u32 = 1 << 17;

const REGISTER_SEND_MSG_RING: u32 = 31;

/// Where the queues are mapped from.
const OFFSET_RINGS: i64 = 0;
const OFFSET_SUBMISSIONS: i64 = 0x1000_0000;

/// `struct io_sqring_offsets`
#[repr(C)]
#[derive(Default)]
struct SubmissionOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    address: u64,
}

/// `struct io_cqring_offsets`
#[repr(C)]
#[derive(Default)]
struct CompletionOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    overflow: u32,
    completions: u32,
    flags: u32,
    reserved: u32,
    address: u64,
}

/// `struct io_uring_params`
#[repr(C)]
#[derive(Default)]
struct Params {
    submissions: u32,
    completions: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    workers: u32,
    reserved: [u32; 3],
    submission: SubmissionOffsets,
    completion: CompletionOffsets,
}

/// `struct io_uring_sqe` with its second half.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: RawFd,
    /// The operation of a command, the low half of the offset of all others.
    command: u32,
    offset_high: u32,
    address: u64,
    len: u32,
    more_flags: u32,
    user_data: u64,
    unused: u64,
    bytes: [u8; 80],
}

impl Submission {
    /// A command for the driver of a file.
    pub fn command(
        fd: BorrowedFd<'_>,
        command: u32,
        (address, len): (u64, u32),
        bytes: [u8; 80],
        user_data: u64,
    ) -> Submission {
        Submission {
            opcode: OP_URING_CMD,
            flags: 0,
            priority: 0,
            fd: fd.as_raw_fd(),
            command,
            offset_high: 0,
            address,
            len,
            more_flags: 0,
            user_data,
            unused: 0,
            bytes,
        }
    }
}

/// `struct io_uring_cqe`
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// `struct io_uring_getevents_arg`
#[repr(C)]
struct WaitArgs {
    sigmask: u64,
    sigmask_len: u32,
    min_wait: u32,
    timeout: u64,
}

/// One ring of the two: its ends, and what is in it.
struct Side<T> {
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
}

impl<T> Side<T> {
    fn head(&self) -> &AtomicU32 {
        // SAFETY: it points into a mapping that lives as long as this; the kernel uses it as an atomic, too.
        unsafe { self.head.as_ref() }
    }

    fn tail(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.tail.as_ref() }
    }

    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: there are `mask + 1` of them.
        unsafe { self.slots.add((index & self.mask) as usize) }
    }
}

/// A ring. It is not `Send`: only the thread that made it may use it.
pub struct Uring {
    fd: OwnedFd,
    submissions: Side<Submission>,
    completions: Side<Completion>,
    /// How it waits.
    wait_flags: u32,
    _rings: Mapping,
    _slots: Mapping,
}

impl Uring {
    /// io_uring_setup(2), Linux 6.6, with room for `entries` submissions and twice as many completions.
    pub fn new(entries: u32) -> Result<Uring> {
        let mut params = Params {
            flags: SETUP_SUBMIT_ALL
                | SETUP_SQE128
                | SETUP_SINGLE_ISSUER
                | SETUP_DEFER_TASKRUN
                | SETUP_NO_SQARRAY,
            ..Params::default()
        };
        // SAFETY: `params` has the layout of struct io_uring_params and outlives the call.
        let ret = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut params) };
        let raw = check(ret)? as RawFd;
        // SAFETY: the call just made this fd, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let (sq, cq) = (&params.submission, &params.completion);
        let (sq_len, cq_len) = (params.submissions as usize, params.completions as usize);
        let rings_len = cq.completions as usize + cq_len * size_of::<Completion>();
        // Both rings are in one mapping since Linux 5.4.
        let rings = Mapping::shared(fd.as_fd(), rings_len, OFFSET_RINGS)?;
        let slots_len = sq_len * size_of::<Submission>();
        let slots = Mapping::shared(fd.as_fd(), slots_len, OFFSET_SUBMISSIONS)?;
        let end = |offset: u32| rings.at::<AtomicU32>(offset as usize, 1);
        let ring = || {
            Some((
                Side {
                    head: end(sq.head)?,
                    tail: end(sq.tail)?,
                    slots: slots.at(0, sq_len)?,
                    mask: params.submissions - 1,
                },
                Side {
                    head: end(cq.head)?,
                    tail: end(cq.tail)?,
                    slots: rings.at(cq.completions as usize, cq_len)?,
                    mask: params.completions - 1,
                },
            ))
        };
        let (submissions, completions) = ring().ok_or(Errno::EINVAL)?;
        let quiet = match params.features & FEATURE_NO_IOWAIT {
            0 => 0,
            _ => ENTER_NO_IOWAIT,
        };
        let wait_flags = ENTER_GETEVENTS | quiet;
        Ok(Uring {
            fd,
            submissions,
            completions,
            wait_flags,
            _rings: rings,
            _slots: slots,
        })
    }

    /// The ring for other threads.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Queues a submission; ENOBUFS when there is no room.
    ///
    /// # Safety
    /// The memory that the submission points to must live, and be nobody else's, for as long as the kernel works on it.
    pub unsafe fn push(&mut self, submission: Submission) -> Result<()> {
        let side = &self.submissions;
        let tail = side.tail().load(Ordering::Relaxed);
        if tail.wrapping_sub(side.head().load(Ordering::Acquire)) > side.mask {
            return Err(Errno::ENOBUFS);
        }
        // SAFETY: the kernel does not look at this slot before the tail is past it, and the head is past its last use.
        unsafe { side.slot(tail).write(submission) };
        side.tail().store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Submissions that are queued.
    fn queued(&self) -> u32 {
        let side = &self.submissions;
        let tail = side.tail().load(Ordering::Relaxed);
        tail.wrapping_sub(side.head().load(Ordering::Acquire))
    }

    /// Is no completion there?
    pub fn is_empty(&self) -> bool {
        let side = &self.completions;
        side.head().load(Ordering::Relaxed) == side.tail().load(Ordering::Acquire)
    }

    /// The next completion: its user data and its result.
    pub fn pop(&mut self) -> Option<(u64, i32)> {
        let side = &self.completions;
        let head = side.head().load(Ordering::Relaxed);
        if self.is_empty() {
            return None;
        }
        // SAFETY: the tail is past this slot, so the kernel wrote it and waits for the head to be past it, too.
        let completion = unsafe { side.slot(head).read() };
        side.head().store(head.wrapping_add(1), Ordering::Release);
        Some((completion.user_data, completion.result))
    }

    /// Submits what is queued.
    pub fn submit(&mut self) -> Result<()> {
        match self.queued() {
            0 => Ok(()),
            queued => self.enter(queued, 0, 0, std::ptr::null(), 0),
        }
    }

    /// Submits what is queued, and waits for a completion, or until the time is over.
    pub fn submit_and_wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let queued = self.queued();
        let Some(timeout) = timeout else {
            return self.enter(queued, 1, self.wait_flags, std::ptr::null(), 0);
        };
        let time = [timeout.as_secs(), timeout.subsec_nanos().into()];
        let args = WaitArgs {
            sigmask: 0,
            sigmask_len: 0,
            min_wait: 0,
            timeout: (&raw const time) as u64,
        };
        let flags = self.wait_flags | ENTER_EXT_ARG;
        let len = size_of::<WaitArgs>();
        self.enter(queued, 1, flags, (&raw const args).cast(), len)
    }

    /// io_uring_enter(2). What was interrupted, or took too long, is no failure: the caller looks what is there.
    fn enter(
        &mut self,
        queued: u32,
        wait: u32,
        flags: u32,
        args: *const c_void,
        len: usize,
    ) -> Result<()> {
        // SAFETY: `args` is null or a struct io_uring_getevents_arg with a timespec that outlive the call; what
        // the submissions point to is as `push` wants it.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                queued,
                wait,
                flags,
                args,
                len,
            )
        };
        match check(ret) {
            Err(errno) if errno != Errno::EINTR && errno.raw() != libc::ETIME => Err(errno),
            _ => Ok(()),
        }
    }
}

/// A completion with this user data for the ring `fd`, from any thread (Linux 6.13).
pub fn send_to_ring(fd: BorrowedFd<'_>, user_data: u64) -> Result<()> {
    let message = Submission {
        opcode: OP_MSG_RING,
        flags: 0,
        priority: 0,
        fd: fd.as_raw_fd(),
        command: user_data as u32,
        offset_high: (user_data >> 32) as u32,
        address: 0,
        len: 0,
        more_flags: 0,
        user_data: 0,
        unused: 0,
        bytes: [0; 80],
    };
    // SAFETY: the kernel reads one struct io_uring_sqe, the first half of `message`.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            -1 as c_long,
            REGISTER_SEND_MSG_RING,
            &raw const message,
            1,
        )
    };
    check(ret).map(drop)
}
