//! How much may be in flight.

use std::time::{Duration, Instant};

use crate::{
    path::{self, Path, whole},
    phase::{Before, Compete, Cruise, Grow, Level, PACKETS_MIN, Phase, QUEUE_FOREIGN, QUEUE_SEEN, Test},
    round::Round,
};

/// Packets that a fresh link, and one that its application does not fill, may have in flight: enough for a few small
/// responses at once. RFC 9002 §7.2 recommends 10; the pace spreads them over the round trip.
const PACKETS_START: u64 = 32;

/// A full round of so many, a power of two, has the queue emptied.
const DRAIN_EVERY: u32 = 8;

/// What a link that competes keeps in flight at least: so many times what the path holds of its own.
const COMPETE_LEAST: f64 = 1.6;

/// Rounds of competing between two looks whether there is still anybody to compete with.
const TEST_EVERY: u32 = 96;

/// How long the base may be out of sight before the window is halved to see it. Links that share a path and have seen it
/// together do this together, as BBR's do (draft-ietf-ccwg-bbr §5.3.4.3), and so come to know the same base.
const BASE_EVERY: Duration = Duration::from_secs(4);

/// Tests that must fail before a queue counts as somebody else's: a link that starts fills it as well, but not for long.
const TESTS: u8 = 3;

/// Tests that must find the queue empty before there is nobody to compete with: CUBIC's ebbs.
const TESTS_EMPTY: u8 = 2;

/// How much of the base the window may be above what the path holds, and at least how long: an acknowledgement may
/// be a millisecond late, and so may a timer.
const HEADROOM: f64 = 0.06;
const HEADROOM_MIN: Duration = Duration::from_millis(2);

/// What acknowledgements are late by even when the queue is empty.
const LATENESS: Duration = Duration::from_millis(1);

/// Packets in the queue per root of packets per second: 37 at 100 Mbit/s, 12 at 10.
const SHARE: f64 = 0.4;

/// The most that the window makes up for losses.
const LOSS_MAX: f64 = 0.2;

/// How much more is lost with more in flight before the headroom shrinks.
const LOSS_OWN: f64 = 0.005;

/// A rate that grew by so much has not met its limit.
const RISING: f64 = 1.15;

/// The longest queue that a link counts as its share: a dozen of them make it together at 100 Mbit/s.
const QUEUE_SHARE_MAX: Duration = Duration::from_millis(15);

/// The window, and why it is what it is.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    mtu: u64,
    bytes: u64,
    path: Path,
    phase: Phase,
    /// What of the headroom is used, from 0 to 1.
    headroom: f64,
    /// When the last test ended.
    tested_at: Option<Instant>,
}

impl Window {
    pub(crate) fn new(mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            bytes: PACKETS_START * mtu,
            path: Path::new(),
            phase: Phase::grow(0.0),
            headroom: 1.0,
            tested_at: None,
        }
    }

    /// Returns how many bytes may be in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns what it is on a fresh link.
    pub(crate) fn bytes_start(&self) -> u64 {
        PACKETS_START * self.mtu
    }

    /// Goes on with packets of another size.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        self.bytes = self.bytes.max(self.bytes_of(PACKETS_MIN));
    }

    /// Takes in the acknowledgement of one packet; `filled` where the window has been full in this round.
    pub(crate) fn on_ack(&mut self, bytes: u64, rtt: Duration, filled: bool) {
        let start = self.bytes_start();
        let Phase::Grow(grow) = &mut self.phase else { return };
        if grow.meets_queue(rtt, self.path.base()) {
            // It was half of this when the packets were sent that met the queue.
            self.bytes = (self.bytes / 2).max(start);
        }
        if filled && !grow.is_over {
            self.bytes += bytes;
        }
    }

    /// Takes in that routers marked packets instead of dropping them.
    pub(crate) fn on_mark(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Grow(grow) => grow.is_over = true,
            // The next round is one that empties the queue.
            Phase::Cruise(cruise) => cruise.round |= DRAIN_EVERY - 1,
            Phase::Test(_) => {}
            Phase::Compete(compete) if compete.was_cut => {}
            Phase::Compete(compete) => self.bytes = compete.cut(now, self.mtu, 0),
        }
    }

    /// Takes in that nothing came through for a long time: begins anew.
    pub(crate) fn on_silence(&mut self) {
        self.path.doubt();
        self.phase = Phase::grow(0.0);
        self.bytes = self.bytes_start();
    }

    /// Takes in one round.
    pub(crate) fn on_round(&mut self, now: Instant, round: &Round) {
        let rate_before = self.path.rate();
        self.path.learn(now, round, self.is_crowded());
        if !round.filled {
            self.give_up_test();
            self.keep_ready();
            return;
        }
        // `Grow` stands in for the phase that decides.
        match std::mem::replace(&mut self.phase, Phase::grow(rate_before)) {
            Phase::Grow(grow) => self.grow(grow, round),
            Phase::Cruise(cruise) => self.cruise(now, cruise, round, rate_before),
            Phase::Test(test) => self.test(now, test, round),
            Phase::Compete(compete) => self.compete(now, compete, round),
        }
    }

    /// A window that is not filled tells nothing of the queue: goes on as before the test.
    fn give_up_test(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::grow(self.path.rate())) {
            Phase::Test(Test { before: Before::Cruised(cruise), bytes_before, .. }) => {
                self.resume_cruise(cruise, bytes_before);
            }
            Phase::Test(Test { before: Before::Competed(compete), .. }) => self.phase = Phase::Compete(compete),
            other @ (Phase::Grow(_) | Phase::Cruise(_) | Phase::Compete(_)) => self.phase = other,
        }
    }

    /// Returns whether the queue does not empty whatever this link does.
    fn is_crowded(&self) -> bool {
        match &self.phase {
            Phase::Grow(_) => false,
            Phase::Cruise(cruise) => cruise.is_left_full,
            Phase::Test(_) | Phase::Compete(_) => true,
        }
    }

    /// The application had no more to send: room for twice of what it sends at most.
    fn keep_ready(&mut self) {
        let rate = self.path.rate_used();
        let base = self.path.base().unwrap_or_default();
        let used = rate * (base + HEADROOM_MIN).as_secs_f64();
        let twice = whole(2.0 * used + self.share(rate));
        // Twice as much as a path can carry would only overflow its queue.
        let room = if self.path.is_limit_known() { self.size(Level::Full).min(twice) } else { twice };
        self.bytes = room.max(self.bytes_start());
    }

    fn grow(&mut self, mut grow: Grow, round: &Round) {
        if grow.is_flat(path::rate(round)) || grow.is_over {
            self.begin_cruise();
        } else {
            self.phase = Phase::Grow(grow);
        }
    }

    fn begin_cruise(&mut self) {
        let cruise = Cruise::new(self.path.rate(), self.path.loss());
        self.phase = Phase::Cruise(cruise);
        self.bytes = self.size(Level::Drained);
    }

    fn cruise(&mut self, now: Instant, mut cruise: Cruise, round: &Round, rate_before: f64) {
        let [sent_at, next] = cruise.sent_at;
        let queued = self.path.queued(round.rtt_min);
        let rate = self.path.rate();
        match sent_at {
            Level::Drained => {
                self.path.learn_loss(round);
                self.settle_headroom(cruise.loss_full);
                cruise.drained(queued, rate);
            }
            Level::Full => {
                cruise.loss_full += (path::loss(round) - cruise.loss_full) / 16.0;
                let rises = path::rate(round) > rate_before * RISING && queued < QUEUE_SEEN;
                cruise.rounds_rising = if rises { cruise.rounds_rising + 1 } else { 0 };
            }
        }
        if cruise.rounds_rising >= 2 {
            self.phase = Phase::grow(path::rate(round));
            return;
        }
        let is_crowded = queued > self.queue_own() + QUEUE_FOREIGN;
        cruise.rounds_crowded = if is_crowded { cruise.rounds_crowded.saturating_add(1) } else { 0 };
        let is_doubtful = cruise.rounds_crowded >= 2 || cruise.yields(rate) || self.is_base_doubtful(now);
        if is_doubtful && cruise.may_test() {
            self.begin_test(round, Before::Cruised(cruise));
            return;
        }
        cruise.round += 1;
        let level = if cruise.round.is_multiple_of(DRAIN_EVERY) { Level::Drained } else { Level::Full };
        cruise.sent_at = [next, level];
        self.phase = Phase::Cruise(cruise);
        self.bytes = self.size(level);
    }

    /// Returns whether the base has been out of sight for long, and nobody has looked.
    fn is_base_doubtful(&self, now: Instant) -> bool {
        let tested_long_ago = self.tested_at.is_none_or(|at| now - at > BASE_EVERY);
        tested_long_ago && self.path.base_unseen() > BASE_EVERY
    }

    /// More loss with more in flight is this link's own doing: a shallow queue overflows.
    fn settle_headroom(&mut self, loss_full: f64) {
        if loss_full > self.path.loss() * 1.5 + LOSS_OWN {
            self.headroom *= 0.7;
        } else {
            self.headroom = (self.headroom + 0.1).min(1.0);
        }
    }

    fn begin_test(&mut self, round: &Round, before: Before) {
        let bytes_before = self.bytes;
        self.bytes = (bytes_before / 2).max(self.bytes_of(PACKETS_MIN));
        let (rtt_before, queued_before) = (round.rtt_min, self.path.queued(round.rtt_min));
        // The first round's packets were sent with the window of before, the second's while it shrank.
        let rounds_left = 3;
        self.phase = Phase::Test(Test { rounds_left, bytes_before, rtt_before, queued_before, is_still: true, before });
    }

    fn test(&mut self, now: Instant, mut test: Test, round: &Round) {
        test.rounds_left -= 1;
        let moved = round.rtt_min.abs_diff(test.rtt_before);
        test.is_still &= moved <= test.rtt_before / 64 + LATENESS / 2;
        let is_empty = self.path.queued(round.rtt_min) <= (test.queued_before / 2).max(QUEUE_FOREIGN);
        if test.rounds_left > 0 {
            self.phase = Phase::Test(test);
            return;
        }
        self.tested_at = Some(now);
        let Test { bytes_before, queued_before, is_still, before, .. } = test;
        if is_still && queued_before > self.path.base().unwrap_or_default() {
            // What does not move with the window is no queue: the path has become longer.
            self.path.rebase(now, round.rtt_min);
            self.bytes = bytes_before;
            self.phase = Phase::grow(path::rate(round));
            return;
        }
        match before {
            Before::Cruised(_) if is_empty => self.begin_cruise(),
            Before::Cruised(mut cruise) => {
                cruise.tests_failed += 1;
                cruise.bytes_yielded = cruise.bytes_yielded.max(bytes_before);
                if cruise.tests_failed < TESTS {
                    self.resume_cruise(cruise, bytes_before);
                } else {
                    self.bytes = cruise.bytes_yielded;
                    self.phase = Phase::Compete(Compete::new(now, self.packets()));
                }
            }
            Before::Competed(compete) if is_empty && compete.tests_empty + 1 == TESTS_EMPTY => self.begin_cruise(),
            Before::Competed(mut compete) => {
                compete.tests_empty = if is_empty { compete.tests_empty + 1 } else { 0 };
                self.bytes = bytes_before;
                self.phase = Phase::Compete(compete);
            }
        }
    }

    fn resume_cruise(&mut self, mut cruise: Cruise, bytes: u64) {
        cruise.resume(self.path.rate());
        self.bytes = bytes;
        self.phase = Phase::Cruise(cruise);
    }

    fn compete(&mut self, now: Instant, mut compete: Compete, round: &Round) {
        let queued = self.path.queued(round.rtt_min);
        compete.queued_max = compete.queued_max.max(queued);
        compete.rate.add(now, path::rate(round));
        compete.round += 1;
        if compete.round.is_multiple_of(TEST_EVERY) {
            self.begin_test(round, Before::Competed(compete));
            return;
        }
        // A loss at a short queue is the path's.
        let is_congested = round.lost > 0 && queued * 2 >= compete.queued_max;
        if is_congested && !compete.was_cut {
            let least = self.least_competing(&compete);
            self.bytes = compete.cut(now, self.mtu, least);
        } else {
            compete.was_cut = false;
            compete.packets = compete.cubic.grown(now, round.rtt_min, compete.packets);
            self.bytes = self.bytes_of(compete.packets);
        }
        self.phase = Phase::Compete(compete);
    }

    /// Returns what is left of the window however much is lost: BBR keeps twice as much and hears of no loss, so the
    /// losses that it makes must not take everything from a link that does.
    fn least_competing(&self, compete: &Compete) -> u64 {
        let rate = compete.rate.get().unwrap_or(0.0);
        whole(COMPETE_LEAST * rate * self.path.base().unwrap_or_default().as_secs_f64())
    }

    /// Returns the window that fills the path.
    fn size(&self, level: Level) -> u64 {
        let rate = self.path.rate();
        let base = self.path.base().unwrap_or_default();
        let holds = match level {
            Level::Drained => rate * (base + LATENESS.mul_f64(self.headroom)).as_secs_f64(),
            Level::Full => {
                let lost = self.path.loss().min(LOSS_MAX);
                rate * (base + self.queue_own()).as_secs_f64() / (1.0 - lost)
            }
        };
        whole(holds).max(self.bytes_of(PACKETS_MIN))
    }

    /// Returns how long the queue is that this link itself makes.
    fn queue_own(&self) -> Duration {
        let rate = self.path.rate();
        let headroom = self.path.base().unwrap_or_default().mul_f64(HEADROOM).max(HEADROOM_MIN);
        let share = Duration::from_secs_f64(self.share(rate) / rate.max(1.0)).min(QUEUE_SHARE_MAX);
        (headroom + share).mul_f64(self.headroom)
    }

    /// Returns the bytes that this link keeps in the queue.
    #[expect(clippy::cast_precision_loss, reason = "the size of a packet")]
    fn share(&self, rate: f64) -> f64 {
        let mtu = self.mtu as f64;
        SHARE * (rate / mtu).sqrt() * mtu
    }

    #[expect(clippy::cast_precision_loss, reason = "a window of 2^53 bytes is none")]
    fn packets(&self) -> f64 {
        self.bytes as f64 / self.mtu as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "the size of a packet")]
    fn bytes_of(&self, packets: f64) -> u64 {
        whole(packets * self.mtu as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MTU: u16 = 1250;

    /// A path of 20 ms that carries 10 packets per millisecond, 250,000 bytes per round trip, with a queue in which
    /// nothing is lost.
    struct Sender {
        window: Window,
        now: Instant,
    }

    const PATH_BYTES: u64 = 250_000;

    impl Sender {
        fn new() -> Self {
            Self { window: Window::new(MTU), now: Instant::now() }
        }

        /// Lets a round pass in which the window is full, and so many of a thousand packets are lost.
        fn round(&mut self, base: Duration, lost_of_1000: u64) -> u64 {
            let sent = self.window.bytes();
            // What the path does not hold waits in the queue.
            let rtt = base.mul_f64((sent as f64 / PATH_BYTES as f64).max(1.0));
            for _ in 0..sent / u64::from(MTU) {
                self.window.on_ack(u64::from(MTU), rtt, true);
            }
            let lost = sent * lost_of_1000 / 1000;
            self.report(Round { took: rtt, delivered: sent - lost, lost, rtt_min: rtt, filled: true });
            self.window.bytes()
        }

        fn report(&mut self, round: Round) {
            self.now += round.took;
            self.window.on_round(self.now, &round);
        }

        fn rounds(&mut self, rounds: usize, lost_of_1000: u64) -> Vec<u64> {
            (0..rounds).map(|_| self.round(20 * MS, lost_of_1000)).collect()
        }
    }

    fn fills_with_a_short_queue(windows: &[u64]) {
        for &bytes in windows {
            assert!((PATH_BYTES * 19 / 20..PATH_BYTES * 3 / 2).contains(&bytes), "{bytes} bytes in {windows:?}");
        }
    }

    #[test]
    fn it_doubles_until_a_queue_is_seen() {
        let mut sender = Sender::new();
        assert_eq!(sender.window.bytes(), 40_000);
        assert_eq!(sender.rounds(3, 0), [80_000, 160_000, 320_000]);
        // The round with the queue: nothing is added any more.
        sender.round(20 * MS, 0);
        fills_with_a_short_queue(&sender.rounds(100, 0)[8..]);
    }

    #[test]
    fn losses_without_a_queue_do_not_shrink_it() {
        let mut sender = Sender::new();
        sender.rounds(20, 50);
        fills_with_a_short_queue(&sender.rounds(100, 50));
    }

    #[test]
    fn every_eighth_round_empties_the_queue() {
        let mut sender = Sender::new();
        sender.rounds(20, 0);
        let windows = sender.rounds(80, 0);
        // The path and the millisecond that acknowledgements are late.
        let drained = windows.iter().filter(|&&bytes| bytes <= PATH_BYTES * 21 / 20).count();
        assert_eq!(drained, 10, "{windows:?}");
    }

    #[test]
    fn losses_that_grow_with_the_window_take_the_headroom() {
        let mut sender = Sender::new();
        sender.rounds(20, 0);
        let before = sender.window.headroom;
        let mut sent = sender.window.bytes();
        for _ in 0..80 {
            // A queue of a millisecond: what is over it is lost, and a round later that is known.
            let over = sent.saturating_sub(PATH_BYTES * 21 / 20);
            let delivered = sent - over;
            sent = sender.window.bytes();
            sender.report(Round { took: 21 * MS, delivered, lost: over, rtt_min: 20 * MS, filled: true });
        }
        assert!(sender.window.headroom < before / 2.0, "{}", sender.window.headroom);
    }

    #[test]
    fn a_link_that_is_not_filled_has_room_for_twice_as_much() {
        let mut sender = Sender::new();
        for _ in 0..100 {
            sender.report(Round { took: 20 * MS, delivered: 100_000, lost: 0, rtt_min: 20 * MS, filled: false });
        }
        assert!((200_000..300_000).contains(&sender.window.bytes()), "{}", sender.window.bytes());
        for _ in 0..1000 {
            sender.report(Round { took: 20 * MS, delivered: 1000, lost: 0, rtt_min: 20 * MS, filled: false });
        }
        assert_eq!(sender.window.bytes(), sender.window.bytes_start());
    }

    #[test]
    fn a_longer_path_is_told_from_a_queue() {
        let mut sender = Sender::new();
        sender.rounds(100, 0);
        for _ in 0..60 {
            // The queue would be six times the window: what does not move with it is none.
            let delivered = sender.window.bytes();
            sender.report(Round { took: 150 * MS, delivered, lost: 0, rtt_min: 150 * MS, filled: true });
        }
        assert_eq!(sender.window.path.base(), Some(150 * MS));
        assert!(sender.window.bytes() > PATH_BYTES, "{}", sender.window.bytes());
    }

    #[test]
    fn a_base_out_of_sight_is_looked_for_once_in_a_while() {
        let mut sender = Sender::new();
        sender.rounds(100, 0);
        let mut halvings = 0;
        for _ in 0..400 {
            // Three milliseconds of queue that do not go, too little for somebody else's.
            let delivered = sender.window.bytes();
            sender.report(Round { took: 23 * MS, delivered, lost: 0, rtt_min: 23 * MS, filled: true });
            halvings += usize::from(sender.window.bytes() <= delivered / 2);
        }
        // In nine seconds.
        assert!((1..=3).contains(&halvings), "{halvings} halvings");
    }

    #[test]
    fn a_test_ends_when_there_is_nothing_to_send() {
        let mut sender = Sender::new();
        sender.rounds(100, 0);
        let before = sender.window.bytes();
        let round = Round { took: 60 * MS, delivered: before, lost: 0, rtt_min: 60 * MS, filled: true };
        while !matches!(sender.window.phase, Phase::Test(_)) {
            sender.report(round);
        }
        sender.report(Round { delivered: 1000, filled: false, ..round });
        assert!(matches!(sender.window.phase, Phase::Cruise(_)), "{:?}", sender.window.phase);
        assert!(sender.window.bytes() >= sender.window.bytes_start(), "{}", sender.window.bytes());
    }

    #[test]
    fn somebody_elses_queue_is_competed_for() {
        let mut sender = Sender::new();
        sender.rounds(100, 0);
        for round in 0..200 {
            // It goes up and down, and not with this window.
            let rtt = (50 + round % 20) * MS;
            let delivered = sender.window.bytes();
            sender.report(Round { took: rtt, delivered, lost: 0, rtt_min: rtt, filled: true });
        }
        assert!(matches!(sender.window.phase, Phase::Compete(_) | Phase::Test(_)), "{:?}", sender.window.phase);
        assert!(sender.window.bytes() > PATH_BYTES, "{}", sender.window.bytes());
    }

    #[test]
    fn after_a_silence_it_begins_anew() {
        let mut sender = Sender::new();
        sender.rounds(100, 0);
        sender.window.on_silence();
        assert_eq!(sender.window.bytes(), sender.window.bytes_start());
        assert_eq!(sender.rounds(2, 0), [80_000, 160_000]);
    }

    #[test]
    fn a_mark_ends_the_growth() {
        let mut sender = Sender::new();
        sender.round(20 * MS, 0);
        sender.window.on_mark(sender.now);
        let before = sender.window.bytes();
        assert!(sender.round(20 * MS, 0) < before * 5 / 4);
    }
}
