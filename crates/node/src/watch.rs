//! The exchanges in flight, for whoever wants to look.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::time::Instant;

use crate::meter::Side;

/// The most exchanges that are shown; more are not waited for and not seen.
pub const SHOWN_MAX: usize = 1_000;

/// How many places are tried before an exchange goes unseen.
const TRIES: usize = 8;

/// A table with room for [`SHOWN_MAX`] exchanges.
///
/// Nobody waits for anybody: an exchange that meets a reader takes another place, and a reader that meets an
/// exchange passes over it.
#[derive(Debug)]
pub struct Watch {
    slots: Box<[Slot]>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slot {
    taken: AtomicBool,
    /// Stays when the exchange is over, for the next one to overwrite.
    shown: Mutex<Option<Shown>>,
}

/// What is seen of an exchange. Held in place: showing one allocates nothing and keeps no request alive.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which end of it is here.
    pub side: Side,
    /// When it started.
    pub start: Instant,
    /// Its `x-request-id`.
    pub id: Text<128>,
    /// Its method.
    pub method: Text<16>,
    /// Its host as it came.
    pub host: Text<128>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { slots: (0..SHOWN_MAX).map(|_| Slot::default()).collect(), next: AtomicUsize::new(0) }
    }
}

impl Watch {
    /// Returns what is in flight, in no order.
    pub fn look(&self) -> Vec<Shown> {
        let taken = self.slots.iter().filter(|slot| slot.taken.load(Ordering::Acquire));
        taken.filter_map(|slot| slot.shown.try_lock().ok()?.clone()).collect()
    }

    fn take(&self, shown: &Shown) -> Option<usize> {
        for _ in 0..TRIES {
            let index = self.next.fetch_add(1, Ordering::Relaxed) % SHOWN_MAX;
            let slot = self.slots.get(index)?;
            if slot.taken.swap(true, Ordering::Acquire) {
                continue;
            }
            if let Ok(mut place) = slot.shown.try_lock() {
                *place = Some(shown.clone());
                return Some(index);
            }
            slot.taken.store(false, Ordering::Release);
        }
        None
    }
}

/// One exchange's place in the table. Dropping it leaves the table.
#[derive(Debug)]
pub struct Place {
    watch: Arc<Watch>,
    index: Option<usize>,
}

impl Place {
    /// Makes one in which nothing is shown yet.
    pub fn new(watch: Arc<Watch>) -> Self {
        Self { watch, index: None }
    }

    /// Shows an exchange, where there is room.
    pub fn show(&mut self, shown: &Shown) {
        self.clear();
        self.index = self.watch.take(shown);
    }

    fn clear(&mut self) {
        if let Some(slot) = self.index.take().and_then(|index| self.watch.slots.get(index)) {
            slot.taken.store(false, Ordering::Release);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The first `N` bytes of a text.
#[derive(Clone, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// Copies as much as fits.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; N];
        let length = text.len().min(N);
        if let (Some(to), Some(from)) = (bytes.get_mut(..length), text.as_bytes().get(..length)) {
            to.copy_from_slice(from);
        }
        Self { bytes, length }
    }
}

impl<const N: usize> std::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes.get(..self.length).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(id: &str) -> Shown {
        let (method, host) = (Text::new("GET"), Text::new("a.example"));
        Shown { side: Side::Asked, start: Instant::now(), id: Text::new(id), method, host }
    }

    fn show(watch: &Arc<Watch>, id: &str) -> Place {
        let mut place = Place::new(Arc::clone(watch));
        place.show(&shown(id));
        place
    }

    #[test]
    fn an_exchange_is_seen_until_its_place_is_dropped() {
        let watch = Arc::new(Watch::default());
        let first = show(&watch, "first");
        let _second = show(&watch, "second");
        assert_eq!(watch.look().len(), 2);
        drop(first);
        let left = watch.look();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].id.to_string(), "second");
    }

    #[test]
    fn more_exchanges_than_there_is_room_for_are_not_seen() {
        let watch = Arc::new(Watch::default());
        let places: Vec<_> = (0..2 * SHOWN_MAX).map(|number| show(&watch, &number.to_string())).collect();
        assert_eq!(watch.look().len(), SHOWN_MAX);
        drop(places);
        assert!(watch.look().is_empty());
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(Text::<3>::new("abcd").to_string(), "abc");
        assert_eq!(Text::<3>::new("ab").to_string(), "ab");
    }
}
