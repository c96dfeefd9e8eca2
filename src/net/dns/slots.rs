//! Numbered places for what comes and goes. A number is not used again for something else, so what arrives late for
//! something that has ended finds nothing.

/// Places, each with how often it was given away.
#[derive(Debug)]
pub struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

/// A place and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    index: u32,
    turn: u32,
}

impl Slot {
    /// As a number of 56 bits.
    pub fn number(self) -> u64 {
        u64::from(self.turn & 0xff_ffff) << 32 | u64::from(self.index)
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// How many are taken.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The place that the next [`Slots::insert`] will give.
    pub fn next(&self) -> Slot {
        let index = self.free.last().copied();
        let index = index.unwrap_or(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let turn = self.places.get(index as usize).map_or(0, |place| place.0);
        Slot { index, turn }
    }

    /// Takes a place.
    pub fn insert(&mut self, value: T) -> Slot {
        let slot = self.next();
        match self.free.pop() {
            Some(index) => self.places[index as usize].1 = Some(value),
            None => self.places.push((0, Some(value))),
        }
        slot
    }

    /// What has the place of this [`Slot::number`].
    pub fn at(&self, number: u64) -> Option<Slot> {
        let index = number as u32;
        let (turn, value) = self.places.get(index as usize)?;
        let slot = Slot { index, turn: *turn };
        (value.is_some() && slot.number() == number).then_some(slot)
    }

    /// What has the place, unless it has ended.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (turn, value) = self.places.get_mut(slot.index as usize)?;
        value.as_mut().filter(|_| *turn == slot.turn)
    }

    /// Ends what has the place.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let (turn, value) = self.places.get_mut(slot.index as usize)?;
        if *turn != slot.turn {
            return None;
        }
        let value = value.take()?;
        *turn = turn.wrapping_add(1);
        self.free.push(slot.index);
        Some(value)
    }

    /// All that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(index, (turn, value))| {
                Some((Slot { index, turn: *turn }, value.as_ref()?))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_finds_only_what_got_it() {
        let mut slots = Slots::default();
        let a = slots.insert("a");
        let b = slots.insert("b");
        assert_eq!((slots.len(), slots.at(b.number())), (2, Some(b)));
        assert_eq!(slots.remove(a), Some("a"));
        assert_eq!((slots.remove(a), slots.at(a.number())), (None, None));
        assert_eq!(slots.get_mut(a), None);
        let foreseen = slots.next();
        let c = slots.insert("c");
        assert_eq!((c, slots.get_mut(c)), (foreseen, Some(&mut "c")));
        assert_ne!(c.number(), a.number());
        assert_eq!(slots.get_mut(a), None);
        let there: Vec<_> = slots.iter().map(|(_, value)| *value).collect();
        assert_eq!(there, ["c", "b"]);
    }
}
