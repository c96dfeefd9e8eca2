//! Mappings and Linux' asynchronous I/O, which have no safe wrapper. The only file of this program with `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

const BLOCK: usize = 4096;

/// A file mapped for reading.
pub struct Map {
    start: *mut libc::c_void,
    len: usize,
}

impl Map {
    /// The first `len` bytes of a file that nobody makes shorter.
    pub fn of(file: &File, len: usize) -> Map {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
            libc::mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), 0)
        };
        assert_ne!(
            start,
            libc::MAP_FAILED,
            "mmap: {}",
            std::io::Error::last_os_error()
        );
        Map { start, len }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as self lives, and nobody writes the file meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: what `of` mapped; no slice of it outlives self.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; BLOCK]);

/// Memory that O_DIRECT takes.
pub struct Aligned(Vec<Page>);

impl Aligned {
    /// This many blocks of 4 KiB.
    pub fn blocks(n: usize) -> Aligned {
        Aligned(vec![Page([7; BLOCK]); n])
    }

    /// The first block.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.block(0)
    }

    fn block(&mut self, n: usize) -> &mut [u8] {
        &mut self.0[n].0
    }
}

/// One queue of asynchronous requests of one block each.
pub struct Aio {
    context: libc::c_ulong,
    memory: Aligned,
    depth: usize,
}

/// As <linux/aio_abi.h> has it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

/// As <linux/aio_abi.h> has it, for little endian.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Control {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    eventfd: u32,
}

const READ: u16 = 0;
const WRITE: u16 = 1;

impl Aio {
    pub fn new(depth: usize) -> Aio {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word.
        let done = unsafe { libc::syscall(libc::SYS_io_setup, depth, &raw mut context) };
        assert_eq!(done, 0, "io_setup: {}", std::io::Error::last_os_error());
        Aio {
            context,
            memory: Aligned::blocks(depth),
            depth,
        }
    }

    /// Writes block after block, `n` of them, at the offsets that `at` gives; `fill` makes their content.
    pub fn write(
        &mut self,
        file: &File,
        n: usize,
        at: impl Fn(usize) -> u64,
        fill: impl Fn(usize, &mut [u8]),
    ) {
        self.all(file, n, WRITE, at, fill, |_, _| {});
    }

    /// Reads them; `check` sees their content.
    pub fn read(
        &mut self,
        file: &File,
        n: usize,
        at: impl Fn(usize) -> u64,
        check: impl Fn(usize, &[u8]),
    ) {
        self.all(file, n, READ, at, |_, _| {}, check);
    }

    fn all(
        &mut self,
        file: &File,
        n: usize,
        opcode: u16,
        at: impl Fn(usize) -> u64,
        before: impl Fn(usize, &mut [u8]),
        after: impl Fn(usize, &[u8]),
    ) {
        let mut free: Vec<usize> = (0..self.depth).collect();
        let mut in_slot = vec![0; self.depth];
        let (mut next, mut done) = (0, 0);
        while done < n {
            let mut batch = Vec::new();
            while next < n
                && let Some(slot) = free.pop()
            {
                before(next, self.memory.block(slot));
                in_slot[slot] = next;
                batch.push(Control {
                    data: slot as u64,
                    opcode,
                    fd: file.as_raw_fd() as u32,
                    buffer: self.memory.block(slot).as_ptr() as u64,
                    bytes: BLOCK as u64,
                    offset: at(next) as i64,
                    ..Control::default()
                });
                next += 1;
            }
            self.submit(&batch);
            for slot in self.wait() {
                after(in_slot[slot], self.memory.block(slot));
                free.push(slot);
                done += 1;
            }
        }
    }

    fn submit(&self, batch: &[Control]) {
        let pointers: Vec<*const Control> = batch.iter().map(std::ptr::from_ref).collect();
        let mut sent = 0;
        while sent < pointers.len() {
            let left = &pointers[sent..];
            // SAFETY: the requests are copied by the call; their buffers live in self until `wait` gives them back.
            let n = unsafe {
                libc::syscall(libc::SYS_io_submit, self.context, left.len(), left.as_ptr())
            };
            assert!(n > 0, "io_submit: {}", std::io::Error::last_os_error());
            sent += n as usize;
        }
    }

    /// The slots of requests that are done, at least one.
    fn wait(&self) -> Vec<usize> {
        let mut events = vec![Event::default(); self.depth];
        let none = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: the kernel writes at most as many events as there is room for.
        let n = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                1_usize,
                self.depth,
                events.as_mut_ptr(),
                none,
            )
        };
        assert!(n > 0, "io_getevents: {}", std::io::Error::last_os_error());
        events.truncate(n as usize);
        let slot = |event: &Event| {
            assert_eq!(event.result, BLOCK as i64, "asynchronous I/O");
            event.data as usize
        };
        events.iter().map(slot).collect()
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: nothing is in flight once `all` has returned.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
