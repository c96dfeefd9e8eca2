//! The verbs on data that have no row of their own: fallocate, holes, copy_file_range, appends, sockets, statfs.

use std::fs;
use std::io::{self, Write};

use rustix::fs::{FallocateFlags, SeekFrom};

use super::support::scenario::Scenario;
use super::support::steps::{Errno, Fd, Steps};

/// The filesystem may not know every mode; the judge has the same one below.
fn fallocate(s: &mut Steps, fd: &Fd, flags: FallocateFlags, offset: u64, len: u64) {
    let done = rustix::fs::fallocate(fd.fd(), flags, offset, len).map_err(Into::into);
    s.act(format!("fallocate {flags:?} {offset} {len}"), done)
        .noted();
}

#[test]
fn space_and_holes() {
    const MIB: u64 = 1 << 20;
    Scenario::new(
        "9 19",
        "fallocate and SEEK_DATA, SEEK_HOLE on copied-up and new files",
    )
    .layers(|l| {
        l.lower(1)
            .sparse("low", 4 * MIB, &[(2 * MIB, &[b'd'; 4096])])
            .file("full", vec![b'f'; 65_536]);
    })
    .steps(|s| {
        let seek = |fd: &Fd, to| {
            rustix::fs::seek(fd.fd(), to)
                .map(|at| at.to_string())
                .map_err(io::Error::from)
        };
        let low = s.opened("low", "r");
        s.act("data of the lower file", seek(&low, SeekFrom::Data(0)))
            .is("2097152");
        s.act(
            "hole of the lower file",
            seek(&low, SeekFrom::Hole(2 * MIB)),
        )
        .is("2101248");
        s.act("data behind the last", seek(&low, SeekFrom::Data(3 * MIB)))
            .fails(Errno::NXIO);
        s.act("end", seek(&low, SeekFrom::End(0))).is("4194304");
        s.ls_upper(".").is("");
        let up = s.opened("low", "rw");
        s.act("data after the copy-up", seek(&up, SeekFrom::Data(0)))
            .noted();
        let full = s.opened("full", "rw");
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(s, &full, punch, 8192, 8192);
        fallocate(s, &full, FallocateFlags::empty(), 65_536, 4096);
        fallocate(s, &full, FallocateFlags::KEEP_SIZE, 200_000, 4096);
        fallocate(s, &full, FallocateFlags::ZERO_RANGE, 0, 100);
        s.stat("full").is("file 0644 0:0 69632");
        s.act("hole that was punched", seek(&full, SeekFrom::Hole(4096)))
            .is("8192");
        s.read("full").noted();
    });
}

#[test]
fn copies_inside_the_mount() {
    Scenario::new(
        "9 15.8",
        "copy_file_range between lower, upper and new files",
    )
    .layers(|l| {
        l.lower(1)
            .file("low", "0123456789")
            .file("target", "abcdefghij");
    })
    .steps(|s| {
        let (from, to) = (s.opened("low", "r"), s.opened("target", "rw"));
        let (mut at, mut there) = (2, 5);
        let copied =
            rustix::fs::copy_file_range(from.fd(), Some(&mut at), to.fd(), Some(&mut there), 3);
        s.act(
            "copy into the middle",
            copied.map(|n| n.to_string()).map_err(Into::into),
        )
        .is("3");
        s.read("target").is("\"abcde234ij\"");
        let copied = fs::copy(s.at("low"), s.at("new"));
        s.act("copy a file", copied.map(|n| n.to_string())).is("10");
        s.upper("low").is("absent");
        let both = s.opened("new", "rw");
        let (mut at, mut there) = (0, 10);
        let copied =
            rustix::fs::copy_file_range(both.fd(), Some(&mut at), both.fd(), Some(&mut there), 10);
        s.act(
            "copy within a file",
            copied.map(|n| n.to_string()).map_err(Into::into),
        )
        .is("10");
        s.read("new").is("\"01234567890123456789\"");
    });
}

#[test]
fn appends_and_truncates() {
    Scenario::new(
        "9",
        "O_APPEND by several descriptors, truncate to less and to more",
    )
    .layers(|l| {
        l.lower(1)
            .file("log", "start\n")
            .file("cut", "0123456789")
            .file("grow", "0123456789");
    })
    .steps(|s| {
        let open = |_| {
            fs::OpenOptions::new()
                .append(true)
                .open(s.at("log"))
                .unwrap()
        };
        let mut writers: [fs::File; 3] = std::array::from_fn(open);
        for round in 0..5 {
            for (i, writer) in writers.iter_mut().enumerate() {
                writer
                    .write_all(format!("{round}.{i}\n").as_bytes())
                    .unwrap();
            }
        }
        drop(writers);
        s.read("log").noted();
        s.stat("log").is("file 0644 0:0 66");
        s.truncate("cut", 4).ok();
        s.read("cut").is("\"0123\"");
        s.truncate("grow", 12).ok();
        s.read("grow").is("\"0123456789\\x00\\x00\"");
        s.truncate("cut", 4).ok();
        s.truncate(".", 0).fails(Errno::ISDIR);
        s.truncate("none", 0).fails(Errno::NOENT);
    });
}

#[test]
fn sockets_and_fifos_work() {
    Scenario::new("9 11", "a socket bound in the mount, a fifo from below")
        .layers(|l| {
            l.lower(1).fifo("fifo").dir("run");
        })
        .steps(|s| {
            // Bound and reached by a short path: socket addresses have 108 bytes.
            std::env::set_current_dir(s.at("run")).unwrap();
            let listener = std::os::unix::net::UnixListener::bind("socket");
            s.act(
                "bind",
                listener
                    .as_ref()
                    .map(drop)
                    .map_err(|e| io::Error::other(e.to_string())),
            )
            .ok();
            let client = std::os::unix::net::UnixStream::connect("socket");
            s.act("connect", client.and_then(|mut c| c.write_all(b"hello")))
                .ok();
            std::env::set_current_dir("/").unwrap();
            s.stat("run/socket").is("socket 0755 0:0");
            let fifo = s.opened("fifo", "rw,nonblock");
            let wrote = rustix::io::write(fifo.fd(), b"through").map_err(io::Error::from);
            s.act("write to the fifo", wrote.map(|n| n.to_string()))
                .is("7");
            let mut data = [0; 16];
            let read = rustix::io::read(fifo.fd(), &mut data).map_err(io::Error::from);
            s.act(
                "read from the fifo",
                read.map(|n| data[..n].escape_ascii().to_string()),
            )
            .is("through");
            s.upper("fifo").is("absent");
        });
}

#[test]
fn statfs_is_that_of_the_upper() {
    Scenario::new("19.1", "statfs shows the upper's numbers")
        .layers(|_| {})
        .steps(|s| {
            let here = rustix::fs::statvfs(s.at(".")).unwrap();
            let there = rustix::fs::statvfs(&s.layers.upper).unwrap();
            let same = (
                here.f_blocks,
                here.f_bsize,
                here.f_frsize,
                here.f_files,
                here.f_namemax,
            ) == (
                there.f_blocks,
                there.f_bsize,
                there.f_frsize,
                there.f_files,
                there.f_namemax,
            );
            s.check("sizes", same).holds();
        });
}
