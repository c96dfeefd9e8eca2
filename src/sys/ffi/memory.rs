//! What this process keeps in memory, as far as it is asked.

unsafe extern "C" {
    /// Where the linker put the program's first byte.
    static __executable_start: u8;
    /// What follows its code.
    static etext: u8;
}

/// Unmaps the program's constants and code. What is needed again comes from the page cache, some pages at a time.
pub fn forget_code() {
    const PAGE: usize = 1 << 12;
    let start = (&raw const __executable_start).cast_mut();
    // Whole pages: another one may begin in the last.
    let len = ((&raw const etext).addr() & !(PAGE - 1)).saturating_sub(start.addr());
    // SAFETY: nobody writes to this part of the program, so each page comes back as it was.
    unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTNEED) };
}

/// Gives memory that was freed back to the system.
#[cfg(target_env = "gnu")]
pub fn trim_memory() {
    // SAFETY: takes no pointer, and the allocator locks what it touches.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn trim_memory() {}

/// All threads take memory from one heap. To be called before there are any.
#[cfg(target_env = "gnu")]
pub fn share_heap() {
    set(libc::M_ARENA_MAX, 1);
    // Were it to learn from what is freed, it would take the buffers for requests from the heap, too, and clear them.
    set(libc::M_MMAP_THRESHOLD, 4 << 20);
    set(libc::M_TRIM_THRESHOLD, 32 << 20);
}

/// Other allocators have no heap for each thread.
#[cfg(not(target_env = "gnu"))]
pub fn share_heap() {}

#[cfg(target_env = "gnu")]
fn set(parameter: libc::c_int, value: libc::c_int) {
    // SAFETY: takes two numbers.
    unsafe { libc::mallopt(parameter, value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of the code of this program is mapped, in KiB.
    fn mapped() -> u64 {
        let here = (&raw const etext).addr() as u64 - 1;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let is_here = |line: &str| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some((number(start)?..number(end)?).contains(&here))
        };
        let mut lines = smaps.lines();
        lines.find(|line| is_here(line) == Some(true)).unwrap();
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn code_is_unmapped_and_comes_back() {
        let start = (&raw const __executable_start).addr();
        let end = (&raw const etext).addr();
        // Touches all of it that can be read.
        let own = std::fs::File::open("/proc/self/mem").unwrap();
        let mut byte = [0];
        for at in (start..end).step_by(1 << 12) {
            let _hole = std::os::unix::fs::FileExt::read_at(&own, &mut byte, at as u64);
        }
        let before = mapped();
        forget_code();
        let after = mapped();
        assert!(after < before / 2, "{before} KiB, then {after}");
    }
}
