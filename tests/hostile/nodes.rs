//! Fifos, sockets and devices in layers: they are passed on as what they are, and the daemon never opens one.
//!
//! The devices here have no driver, so opening one fails: a verb that succeeds did not open it. A fifo without a
//! partner blocks whoever opens it: a verb that returns did not open it.

use super::siege::{Siege, bounded};
use super::support::scenario::Scenario;
use super::support::steps::{FileType, RenameFlags};

/// Reserved for experiments by the kernel's device list.
const NO_DRIVER: (u32, u32) = (60, 77);

const KINDS: [(&str, FileType, (u32, u32)); 5] = [
    ("fifo", FileType::Fifo, (0, 0)),
    ("socket", FileType::Socket, (0, 0)),
    ("char", FileType::CharacterDevice, NO_DRIVER),
    ("block", FileType::BlockDevice, NO_DRIVER),
    ("odd", FileType::BlockDevice, (0, 0)),
];

#[test]
fn every_verb_on_special_files() {
    Scenario::new(
        "T059 T066",
        "special files are copied up and moved without being opened",
    )
    .layers(|l| {
        for (name, kind, device) in KINDS {
            for n in 0..10 {
                let path = format!("{name}{n}");
                l.lower(1)
                    .node(&path, kind, device)
                    .mode(&path, 0o640)
                    .times(&path, 1_000_000_000, 5);
            }
        }
    })
    .steps(|s| {
        for (name, _, _) in KINDS {
            s.chmod(&format!("{name}0"), 0o600).ok();
            s.chown(&format!("{name}1"), Some(5), Some(6)).ok();
            s.utimens(&format!("{name}2"), Some(1_100_000_000)).ok();
            s.rename(&format!("{name}3"), &format!("{name}3.moved"))
                .ok();
            s.link(&format!("{name}4"), &format!("{name}4.linked")).ok();
            s.unlink(&format!("{name}5")).ok();
            s.setx(&format!("{name}6"), "trusted.test", "x").ok();
            s.listx(&format!("{name}7")).is("");
            s.rename2(
                &format!("{name}8"),
                &format!("{name}9"),
                RenameFlags::EXCHANGE,
            )
            .ok();
            for n in [0, 1, 2, 6, 7, 8] {
                s.stat(&format!("{name}{n}")).noted();
            }
        }
    });
}

/// The kernel's special files work through the mount; data goes between clients, not through the daemon.
#[test]
fn clients_open_special_files_and_the_daemon_does_not() {
    Siege::new("opening special files", 1).run(
        |l, _| {
            for (name, kind, device) in KINDS {
                l.lower(1).node(name, kind, device).mode(name, 0o666);
            }
        },
        |field| {
            let at = |name: &str| field.layers.merged.join(name);
            // Both ends wait for each other: that works only if both meet in one fifo of the kernel's.
            let (reader, writer) = (at("fifo"), at("fifo"));
            let read = std::thread::spawn(move || std::fs::read(reader));
            bounded("writing to a fifo", move || {
                std::fs::write(writer, "through").expect("write to a fifo")
            });
            let read = bounded("reading from a fifo", move || {
                read.join().expect("no panic")
            });
            assert_eq!(read.expect("read from a fifo"), b"through");
            for name in ["socket", "char", "block", "odd"] {
                let path = at(name);
                let opened = bounded("opening a special file", move || std::fs::File::open(path));
                let code = opened
                    .expect_err("nothing serves this device")
                    .raw_os_error();
                assert!(
                    [libc::ENXIO, libc::ENODEV].contains(&code.unwrap_or(0)),
                    "{name}: {code:?}"
                );
            }
            for (name, _, _) in KINDS {
                assert!(field.inside.batter(name));
            }
        },
    );
}
