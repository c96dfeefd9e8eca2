//! Requests come by rings, each to the processor it is made on, and every one of them is answered.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use plyfs::sys::cpus;
use plyfs::sys::errno::Errno;
use rustix::mount::UnmountFlags;

use super::support::env::{Scratch, isolated};
use super::toy::{self, Mounted, Offered, PAYLOAD, missing};

/// How long something may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// What who waits for a cut connection gets.
const ABORTED: i32 = 103;

/// Runs a test on a fresh toy; it is unmounted, and its threads are gone, at the end.
fn with_toy(name: &str, test: impl FnOnce(&Mounted) + Send) {
    let Some(_offered) = Offered::new(name) else {
        return;
    };
    isolated(|| {
        let scratch = Scratch::new();
        let toy = Mounted::new(&scratch);
        test(&toy);
        toy.unmount(UnmountFlags::empty());
        ends(toy);
    });
}

/// The threads end now.
fn ends(toy: Mounted) {
    let (tell, told) = channel();
    let joined = std::thread::spawn(move || {
        toy.join();
        tell.send(()).unwrap();
    });
    told.recv_timeout(PATIENCE)
        .expect("the threads are still there");
    joined.join().unwrap();
}

/// Requests for more data at once than there are entries, as large as they can be, and small ones in between.
fn crowd(toy: &Mounted) {
    std::thread::scope(|scope| {
        for n in 0_u8..16 {
            scope.spawn(move || {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .open(toy.at.join("file"))
                    .unwrap();
                let pattern: Vec<u8> = (0..PAYLOAD).map(|i| (i / 7) as u8 ^ n).collect();
                let place = u64::from(n) * PAYLOAD as u64;
                for _ in 0..4 {
                    file.write_all_at(&pattern, place).unwrap();
                    assert_eq!(toy.missing("nothing"), Errno::ENOENT);
                    let mut back = vec![0; PAYLOAD];
                    file.read_exact_at(&mut back, place).unwrap();
                    assert!(back == pattern, "other data at {place}");
                    file.read_exact_at(&mut back[..100], place + 5).unwrap();
                    assert_eq!(back[..100], pattern[5..105]);
                }
            });
        }
    });
}

#[test]
fn names_attributes_and_errors() {
    with_toy("names_attributes_and_errors", |toy| {
        let root = fs::metadata(&toy.at).unwrap();
        assert!(root.is_dir());
        let file = fs::metadata(toy.at.join("file")).unwrap();
        assert_eq!((file.ino(), file.mode(), file.nlink()), (102, 0o100_755, 3));
        let owner = (file.uid(), file.gid(), file.mtime(), file.mtime_nsec());
        assert_eq!(owner, (12, 34, -5, 6));
        assert_eq!(toy.missing("nothing"), Errno::ENOENT);
        let names: Vec<_> = fs::read_dir(&toy.at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
        let mkdir = fs::create_dir(toy.at.join("new")).unwrap_err();
        assert_eq!(Errno::from(mkdir), Errno::EOPNOTSUPP);
    });
}

#[test]
fn each_processor_serves_its_own() {
    with_toy("each_processor_serves_its_own", |toy| {
        for cpu in cpus::online().unwrap() {
            let path = toy.at.join(format!("cpu-{cpu}"));
            let asked = std::thread::spawn(move || {
                cpus::stay_on(cpu).unwrap();
                missing(&path)
            });
            assert_eq!(asked.join().unwrap(), Errno::ENOENT, "processor {cpu}");
        }
    });
}

#[test]
fn large_data_by_many_at_once() {
    with_toy("large_data_by_many_at_once", |toy| {
        crowd(toy);
    });
}

/// KiB in use of memory that is mapped as that of the entries is: without a reserve, and without huge pages.
fn entries_kib() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut rss, mut sum) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("Rss:") => rss = words.next().unwrap().parse().unwrap(),
            Some("VmFlags:") => {
                let flags: Vec<&str> = words.collect();
                let ours = ["nr", "nh"].iter().all(|flag| flags.contains(flag));
                sum += if ours { rss } else { 0 };
            }
            _ => {}
        }
    }
    sum
}

#[test]
fn memory_of_a_crowd_is_given_back() {
    with_toy("memory_of_a_crowd", |toy| {
        let before = entries_kib();
        // Heads and the beginnings of payloads.
        assert!(before < 256, "{before} KiB at first");
        crowd(toy);
        assert!(entries_kib() >= PAYLOAD as u64 / 1024);
        let give_up = Instant::now() + PATIENCE;
        while entries_kib() >= 256 {
            assert!(Instant::now() < give_up, "{} KiB left", entries_kib());
            std::thread::sleep(Duration::from_millis(50));
        }
        // It is there again when it is needed.
        crowd(toy);
    });
}

#[test]
fn a_long_request_is_answered_by_another_thread_and_keeps_nobody_waiting() {
    with_toy("a_long_request", |toy| {
        for _ in 0..20 {
            let path = toy.at.join("slow");
            // On this processor, so that its ring is the one that all the others need.
            let waiting = std::thread::spawn(move || missing(&path));
            let job = toy.slow.recv_timeout(PATIENCE).unwrap();
            for cpu in cpus::online().unwrap() {
                let path = toy.at.join("nothing");
                let other = std::thread::spawn(move || {
                    cpus::stay_on(cpu).unwrap();
                    missing(&path)
                });
                assert_eq!(other.join().unwrap(), Errno::ENOENT);
            }
            assert!(!waiting.is_finished());
            job.done(Err(Errno::ESTALE));
            // The kernel asks again after ESTALE.
            let again = toy.slow.recv_timeout(PATIENCE).unwrap();
            again.done(Err(Errno::EXDEV));
            assert_eq!(waiting.join().unwrap(), Errno::EXDEV);
        }
    });
}

#[test]
fn a_request_that_nobody_answers_is_answered() {
    with_toy("a_request_that_nobody_answers", |toy| {
        for name in ["lost", "panic", "lost"] {
            assert_eq!(toy.missing(name), Errno::EIO);
            assert_eq!(toy.missing("nothing"), Errno::ENOENT);
        }
        let path = toy.at.join("slow");
        let waiting = std::thread::spawn(move || missing(&path));
        drop(toy.slow.recv_timeout(PATIENCE).unwrap());
        assert_eq!(waiting.join().unwrap(), Errno::EIO);
    });
}

#[test]
fn threads_end_only_when_the_last_request_is_answered() {
    let Some(_offered) = Offered::new("threads_end") else {
        return;
    };
    isolated(|| {
        let scratch = Scratch::new();
        let toy = Mounted::new(&scratch);
        let path = toy.at.join("slow");
        let waiting = std::thread::spawn(move || missing(&path));
        let mut job = toy.slow.recv_timeout(PATIENCE).unwrap();
        // The connection is cut while the request is worked on.
        toy.unmount(UnmountFlags::FORCE | UnmountFlags::DETACH);
        assert_eq!(waiting.join().unwrap().raw(), ABORTED);
        let (tell, told) = channel();
        let joined = std::thread::spawn(move || {
            toy.join();
            tell.send(()).unwrap();
        });
        assert!(told.try_recv().is_err());
        // Its memory is still its own.
        job.room().fill(0xa5);
        assert!(job.room().iter().all(|byte| *byte == 0xa5));
        job.done(Ok(PAYLOAD));
        told.recv_timeout(PATIENCE)
            .expect("the threads are still there");
        joined.join().unwrap();
    });
}

#[test]
fn where_the_kernel_refuses_requests_go_to_the_device() {
    let Some(_offered) = Offered::new("where_the_kernel_refuses") else {
        return;
    };
    isolated(|| {
        let scratch = Scratch::new();
        let (at, device, session) = toy::connected(&scratch);
        // Less than the largest write.
        let (refused, _slow) = toy::rings(device, PAYLOAD / 2);
        let errno: Errno = refused.err().expect("a ring for less").into();
        assert_eq!(errno, Errno::EINVAL);
        let (tell, told) = channel();
        let path = at.join("name");
        let asked = std::thread::spawn(move || tell.send(missing(&path)).unwrap());
        let answer = told.recv_timeout(PATIENCE).expect("no answer");
        asked.join().unwrap();
        // From who reads the device.
        assert_eq!(answer, Errno::ENOSYS);
        rustix::mount::unmount(&at, UnmountFlags::empty()).unwrap();
        session.join().unwrap();
    });
}
