//! Locks that know their rank. Debug builds panic at the first acquisition out of order, so that a
//! deadlock is found by any test that takes the locks, not by the one run that meets it. Release
//! builds are plain `parking_lot`.
//!
//! The ranks and their meaning stand in [`crate::overlay`].

use std::ops::{Deref, DerefMut};

/// A mutex of a rank.
#[derive(Debug, Default)]
pub struct Mutex<T, const RANK: u8>(parking_lot::Mutex<T>);

/// A readers-writer lock of a rank.
#[derive(Debug, Default)]
pub struct RwLock<T, const RANK: u8>(parking_lot::RwLock<T>);

/// A held lock: the guard and its place in the order.
pub struct Held<G, const RANK: u8> {
    guard: G,
    _rank: Rank<RANK>,
}

/// Guard of a [`Mutex`].
pub type MutexGuard<'a, T, const RANK: u8> = Held<parking_lot::MutexGuard<'a, T>, RANK>;
/// Shared guard of a [`RwLock`].
pub type ReadGuard<'a, T, const RANK: u8> = Held<parking_lot::RwLockReadGuard<'a, T>, RANK>;
/// Exclusive guard of a [`RwLock`].
pub type WriteGuard<'a, T, const RANK: u8> = Held<parking_lot::RwLockWriteGuard<'a, T>, RANK>;

impl<T, const RANK: u8> Mutex<T, RANK> {
    /// A new lock.
    pub const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T, RANK> {
        let _rank = Rank::take(Order::Above);
        Held {
            guard: self.0.lock(),
            _rank,
        }
    }
}

impl<T, const RANK: u8> RwLock<T, RANK> {
    /// A new lock.
    pub const fn new(value: T) -> Self {
        RwLock(parking_lot::RwLock::new(value))
    }

    /// Waits for shared access.
    pub fn read(&self) -> ReadGuard<'_, T, RANK> {
        let _rank = Rank::take(Order::Above);
        Held {
            guard: self.0.read(),
            _rank,
        }
    }

    /// Waits for exclusive access.
    pub fn write(&self) -> WriteGuard<'_, T, RANK> {
        let _rank = Rank::take(Order::Above);
        Held {
            guard: self.0.write(),
            _rank,
        }
    }

    /// As [`RwLock::write`] for the second of two locks of one rank; the caller vouches for their order.
    pub fn write_second(&self) -> WriteGuard<'_, T, RANK> {
        let _rank = Rank::take(Order::Same);
        Held {
            guard: self.0.write(),
            _rank,
        }
    }
}

impl<G: Deref, const RANK: u8> Deref for Held<G, RANK> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut, const RANK: u8> DerefMut for Held<G, RANK> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// How a new lock relates to those the thread holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Above,
    Same,
}

/// A rank that this thread holds.
struct Rank<const RANK: u8>;

#[cfg(debug_assertions)]
mod order {
    use std::cell::RefCell;

    thread_local! {
        /// Ranks held by this thread, in the order of acquisition.
        pub(super) static HELD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
}

impl<const RANK: u8> Rank<RANK> {
    #[cfg(debug_assertions)]
    fn take(order: Order) -> Self {
        order::HELD.with_borrow_mut(|held| {
            let highest = held.iter().max().copied();
            let fine = match order {
                Order::Above => highest.is_none_or(|highest| highest < RANK),
                Order::Same => highest.is_none_or(|highest| highest <= RANK),
            };
            assert!(fine, "lock of rank {RANK} taken while holding {held:?}");
            held.push(RANK);
        });
        Rank
    }

    #[cfg(not(debug_assertions))]
    fn take(_: Order) -> Self {
        Rank
    }
}

#[cfg(debug_assertions)]
impl<const RANK: u8> Drop for Rank<RANK> {
    fn drop(&mut self) {
        order::HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|&rank| rank == RANK) {
                held.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upward_is_fine() {
        let (low, high) = (Mutex::<_, 1>::new(()), RwLock::<_, 2>::new(0));
        let _low = low.lock();
        *high.write() += 1;
        assert_eq!(*high.read(), 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn downward_is_caught() {
        let caught = std::panic::catch_unwind(|| {
            let (low, high) = (Mutex::<_, 1>::new(()), Mutex::<_, 2>::new(()));
            let _high = high.lock();
            let _low = low.lock();
        });
        assert!(caught.is_err());
    }

    #[test]
    fn two_of_a_rank_only_when_asked_for() {
        let (a, b) = (RwLock::<_, 3>::new(()), RwLock::<_, 3>::new(()));
        let _a = a.write();
        let _b = b.write_second();
    }
}
