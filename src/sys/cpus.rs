//! Processors: which there may be, which there are, and to stay on one.

use std::sync::OnceLock;

use rustix::thread::CpuSet;

use super::errno::{Errno, Result};

/// Where this process might run before the first of its threads was told to stay.
static BEFORE: OnceLock<CpuSet> = OnceLock::new();

/// How many there may ever be, those included that are switched off.
///
/// # Errors
/// Where sysfs does not tell.
pub fn possible() -> Result<u16> {
    let all = list("/sys/devices/system/cpu/possible")?;
    u16::try_from(all.len()).map_err(|_| Errno::EOVERFLOW)
}

/// The numbers of those that are switched on.
///
/// # Errors
/// Where sysfs does not tell.
pub fn online() -> Result<Vec<u16>> {
    list("/sys/devices/system/cpu/online")
}

/// From now on this thread runs on that one only, and so do those that it starts, unless they call [`roam`].
///
/// # Errors
/// EINVAL: it is switched off, or not for this process.
pub fn stay_on(cpu: u16) -> Result<()> {
    let mut set = CpuSet::new();
    if usize::from(cpu) >= CpuSet::MAX_CPU {
        return Err(Errno::EINVAL);
    }
    set.set(cpu.into());
    let before = rustix::thread::sched_getaffinity(None)?;
    BEFORE.get_or_init(|| before);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// This thread runs wherever the process might before any of its threads called [`stay_on`].
///
/// # Errors
/// As sched_setaffinity(2) says.
pub fn roam() -> Result<()> {
    match BEFORE.get() {
        Some(before) => Ok(rustix::thread::sched_setaffinity(None, before)?),
        None => Ok(()),
    }
}

fn list(path: &str) -> Result<Vec<u16>> {
    parse(std::fs::read_to_string(path)?.trim()).ok_or(Errno::EINVAL)
}

/// `0-3,8`
fn parse(text: &str) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_sysfs() {
        assert_eq!(parse("0"), Some(vec![0]));
        assert_eq!(parse("0-2,7,9-10"), Some(vec![0, 1, 2, 7, 9, 10]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0-x"), None);
    }

    #[test]
    fn a_thread_stays_where_it_is_told() {
        let online = online().unwrap();
        assert!(online.len() <= usize::from(possible().unwrap()));
        let everywhere = rustix::thread::sched_getaffinity(None).unwrap().count();
        std::thread::spawn(move || {
            let cpu = *online.last().unwrap();
            stay_on(cpu).unwrap();
            assert_eq!(rustix::thread::sched_getcpu(), usize::from(cpu));
            assert_eq!(stay_on(u16::MAX), Err(Errno::EINVAL));
            let places = || rustix::thread::sched_getaffinity(None).unwrap().count();
            let started = std::thread::spawn(move || {
                let inherited = places();
                roam().unwrap();
                (inherited, places())
            });
            assert_eq!(started.join().unwrap(), (1, everywhere));
        })
        .join()
        .unwrap();
    }
}
