//! FUSE over io_uring (Linux 6.14): requests arrive in memory of ours, and answers are taken from there.
//!
//! The memory is cut into entries. An [`Entry`] is the right to use one of them: the ring gives it out with a request,
//! and takes it back with the answer. What the kernel may still write to is never freed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::check;
use super::mapping::Mapping;
use super::uring::{Submission, Uring, send_to_ring};
use crate::sys::errno::{Errno, Result};

/// Bytes of the header of a request, or an answer.
const HEADER_BYTES: usize = 128;
/// Bytes of the first argument of a request.
pub const ARGUMENT_BYTES: usize = 128;
/// `struct fuse_uring_req_header`: those two, and the place of the rest.
const HEAD_BYTES: usize = HEADER_BYTES + ARGUMENT_BYTES + 32;
const COMMIT_ID: usize = HEADER_BYTES + ARGUMENT_BYTES + 8;
const PAYLOAD_LEN: usize = HEADER_BYTES + ARGUMENT_BYTES + 16;
/// From the head of an entry to that of the next.
const HEAD_STRIDE: usize = 512;
const PAGE_BYTES: usize = 4096;

/// `enum fuse_uring_cmd`
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Who finds no memory for a message asks again after this.
const RETRY: Duration = Duration::from_millis(1);

/// User data of an entry that came back from another thread.
const RETURNED: u64 = 1 << 32;
/// An entry that carried more keeps its memory only as long as the ring is busy.
const SMALL_BYTES: usize = 128 * 1024;

/// The memory of a ring's entries: all heads, then all payloads.
struct Memory {
    mapping: Mapping,
    entries: usize,
    payload: usize,
}

impl Memory {
    fn new(entries: usize, payload: usize) -> Result<Memory> {
        let payload = payload.next_multiple_of(PAGE_BYTES);
        let payloads = entries.checked_mul(payload).ok_or(Errno::EOVERFLOW)?;
        let mapping = Mapping::anonymous(Self::heads(entries) + payloads)?;
        Ok(Memory {
            mapping,
            entries,
            payload,
        })
    }

    fn heads(entries: usize) -> usize {
        (entries * HEAD_STRIDE).next_multiple_of(PAGE_BYTES)
    }

    fn payload_at(&self, index: usize) -> usize {
        Self::heads(self.entries) + index * self.payload
    }
}

/// The right to use one entry. Nobody else does, neither the kernel.
pub struct Entry {
    memory: Arc<Memory>,
    index: usize,
}

impl Entry {
    fn part(&self, offset: usize, len: usize) -> &[u8] {
        match self.memory.mapping.at(offset, len) {
            // SAFETY: within the mapping, which lives as long as `self`; this entry's part is used through `self` only.
            Some(at) => unsafe { std::slice::from_raw_parts(at.as_ptr(), len) },
            None => &[],
        }
    }

    fn part_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        match self.memory.mapping.at(offset, len) {
            // SAFETY: as above, and `self` is borrowed exclusively.
            Some(at) => unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), len) },
            None => &mut [],
        }
    }

    fn head(&self) -> &[u8] {
        self.part(self.index * HEAD_STRIDE, HEAD_BYTES)
    }

    /// `struct fuse_in_header`, and bytes after it that mean nothing.
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        self.head().first_chunk().unwrap_or(&[0; HEADER_BYTES])
    }

    /// The first argument, if the request has a fixed one, and bytes after it that mean nothing.
    pub fn argument(&self) -> &[u8; ARGUMENT_BYTES] {
        let rest = self.head().get(HEADER_BYTES..);
        rest.and_then(<[u8]>::first_chunk)
            .unwrap_or(&[0; ARGUMENT_BYTES])
    }

    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        let rest = self.head().get(at..).and_then(<[u8]>::first_chunk);
        *rest.unwrap_or(&[0; N])
    }

    fn payload_len(&self) -> usize {
        u32::from_ne_bytes(self.number(PAYLOAD_LEN)) as usize
    }

    /// The other arguments: names, data.
    pub fn payload(&self) -> &[u8] {
        let len = self.payload_len().min(self.memory.payload);
        self.part(self.memory.payload_at(self.index), len)
    }

    /// All the room for an answer. The request's payload is in it.
    pub fn room(&mut self) -> &mut [u8] {
        let len = self.memory.payload;
        self.part_mut(self.memory.payload_at(self.index), len)
    }

    /// Makes it an answer: `header` is a struct fuse_out_header, `len` bytes of the room follow it.
    pub fn answer(&mut self, header: &[u8], len: usize) {
        let at = self.index * HEAD_STRIDE;
        let len = (len.min(self.memory.payload) as u32).to_ne_bytes();
        let head = self.part_mut(at, HEAD_BYTES);
        if let Some(place) = head.get_mut(..header.len()) {
            place.copy_from_slice(header);
        }
        if let Some(place) = head.get_mut(PAYLOAD_LEN..PAYLOAD_LEN + len.len()) {
            place.copy_from_slice(&len);
        }
    }
}

/// What a ring has to tell.
pub enum Event {
    /// A request.
    Request(Entry),
    /// Another thread gave an entry back with an answer.
    Returned(Entry),
    /// An entry has come to its end, why: ENOTCONN when the mount is gone.
    Ended(Errno),
}

/// The way to give an entry back from another thread.
pub struct Remote(OwnedFd);

impl Remote {
    /// The ring gets the entry as [`Event::Returned`].
    pub fn give_back(&self, entry: Entry) -> Result<()> {
        let Entry { index, .. } = entry;
        // The message is what owns the entry from here on.
        loop {
            match send_to_ring(self.0.as_fd(), RETURNED | index as u64) {
                Err(Errno::ENOMEM | Errno::EAGAIN) => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }
}

/// Entries of some queues of one FUSE connection, waited for by one thread.
pub struct FuseRing {
    uring: Uring,
    device: Arc<OwnedFd>,
    memory: Arc<Memory>,
    queues: Vec<u16>,
    depth: usize,
    /// By entry: is it in the kernel's hands?
    away: Vec<bool>,
    /// By entry: does it hold more memory than it should for long?
    large: Vec<bool>,
}

impl FuseRing {
    /// A ring with `depth` entries for each of `queues`, all of them still here. `payload`: bytes of the largest
    /// request or answer.
    pub fn new(
        device: Arc<OwnedFd>,
        queues: Vec<u16>,
        depth: u16,
        payload: usize,
    ) -> Result<FuseRing> {
        let depth = usize::from(depth.max(1));
        let entries = queues.len() * depth;
        let uring = Uring::new(entries as u32)?;
        let memory = Arc::new(Memory::new(entries, payload)?);
        Ok(FuseRing {
            uring,
            device,
            memory,
            queues,
            depth,
            away: vec![false; entries],
            large: vec![false; entries],
        })
    }

    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.away.len()
    }

    /// Hands all entries to the kernel.
    pub fn register(&mut self) -> Result<()> {
        let memory = self.memory.clone();
        let part = |offset: usize, len: usize| {
            let at = memory.mapping.at::<u8>(offset, len);
            at.map(|at| libc::iovec {
                iov_base: at.as_ptr().cast(),
                iov_len: len,
            })
        };
        let parts = |index: usize| {
            let head = part(index * HEAD_STRIDE, HEAD_BYTES)?;
            Some([head, part(memory.payload_at(index), memory.payload)?])
        };
        let all = (0..self.away.len()).map(parts).collect::<Option<Vec<_>>>();
        let all = all.ok_or(Errno::EINVAL)?;
        for (index, both) in all.iter().enumerate() {
            let place = (both.as_ptr() as u64, both.len() as u32);
            self.command(index, REGISTER, place, 0)?;
        }
        // The kernel has read `all` when this is over.
        self.uring.submit()
    }

    fn command(
        &mut self,
        index: usize,
        command: u32,
        place: (u64, u32),
        commit_id: u64,
    ) -> Result<()> {
        // struct fuse_uring_cmd_req: flags, the request that is answered, the queue.
        let mut bytes = [0; 80];
        let queue = self.queues.get(index / self.depth).ok_or(Errno::EINVAL)?;
        bytes[8..16].copy_from_slice(&commit_id.to_ne_bytes());
        bytes[16..18].copy_from_slice(&queue.to_ne_bytes());
        let device = self.device.as_fd();
        let submission = Submission::command(device, command, place, bytes, index as u64);
        // SAFETY: the memory of an entry in the kernel's hands is not touched, and, see `drop`, not freed; the pair
        // of iovecs is read while it is submitted, which `register` waits for.
        unsafe { self.uring.push(submission)? };
        self.away[index] = true;
        Ok(())
    }

    /// Queues the answer in an entry; the next [`FuseRing::submit`] or [`FuseRing::wait`] takes it to the kernel.
    pub fn commit(&mut self, entry: Entry) -> Result<()> {
        let Entry { index, .. } = entry;
        if entry.payload_len() > SMALL_BYTES {
            self.large[index] = true;
        }
        let commit_id = u64::from_ne_bytes(entry.number(COMMIT_ID));
        self.command(index, COMMIT_AND_FETCH, (0, 0), commit_id)
    }

    /// Submits what is queued.
    pub fn submit(&mut self) -> Result<()> {
        self.uring.submit()
    }

    /// Submits what is queued, and waits for events. If an entry holds much memory and nothing happens for
    /// `patience`, its memory is given back first.
    pub fn wait(&mut self, patience: Duration) -> Result<()> {
        if self.large.contains(&true) {
            self.uring.submit_and_wait(Some(patience))?;
            if self.uring.is_empty() {
                self.trim();
            }
            return Ok(());
        }
        self.uring.submit_and_wait(None)
    }

    /// To be called when all that the kernel told was dealt with: it writes to entries only while this thread is in a
    /// system call of the ring, so those that are away are empty.
    fn trim(&mut self) {
        for (index, large) in self.large.iter_mut().enumerate() {
            if *large && self.away[index] {
                let at = self.memory.payload_at(index);
                self.memory.mapping.drop_pages(at, self.memory.payload);
                *large = false;
            }
        }
    }

    /// The next event that is there.
    pub fn event(&mut self) -> Option<Event> {
        let (user_data, result) = self.uring.pop()?;
        let index = (user_data & !RETURNED) as usize;
        let entry = Entry {
            memory: self.memory.clone(),
            index,
        };
        if user_data & RETURNED != 0 {
            return Some(Event::Returned(entry));
        }
        self.away[index] = false;
        if result < 0 {
            return Some(Event::Ended(Errno::from_raw(-result)));
        }
        if entry.payload_len() > SMALL_BYTES {
            self.large[index] = true;
        }
        Some(Event::Request(entry))
    }

    /// The way back for entries that other threads answer.
    pub fn remote(&self) -> Result<Remote> {
        Ok(Remote(self.uring.fd().try_clone_to_owned()?))
    }
}

impl Drop for FuseRing {
    fn drop(&mut self) {
        if self.away.contains(&true) {
            // The kernel may still write to it.
            std::mem::forget(self.memory.clone());
        }
    }
}

/// `struct fuse_backing_map`
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// `_IOW(229, 1, struct fuse_backing_map)` and `_IOW(229, 2, uint32_t)`
const FUSE_DEV_IOC_BACKING_OPEN: u64 = 0x4010_e501;
const FUSE_DEV_IOC_BACKING_CLOSE: u64 = 0x4004_e502;

/// FUSE_DEV_IOC_BACKING_OPEN: a number for `file` on the connection of `device`.
pub fn backing_open(device: impl AsFd, file: impl AsFd) -> Result<u32> {
    let map = BackingMap {
        fd: file.as_fd().as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    let (device, request) = (device.as_fd().as_raw_fd(), FUSE_DEV_IOC_BACKING_OPEN);
    // SAFETY: the ioctl reads one struct fuse_backing_map through the pointer.
    let ret = unsafe { libc::ioctl(device, request as _, &raw const map) };
    Ok(check(ret.into())? as u32)
}

/// FUSE_DEV_IOC_BACKING_CLOSE.
pub fn backing_close(device: impl AsFd, id: u32) -> Result<()> {
    let (device, request) = (device.as_fd().as_raw_fd(), FUSE_DEV_IOC_BACKING_CLOSE);
    // SAFETY: the ioctl reads one number through the pointer.
    let ret = unsafe { libc::ioctl(device, request as _, &raw const id) };
    check(ret.into()).map(drop)
}
