//! Moves packets between the devices: one thread that delivers what is due, reads what came and sleeps.

use std::{
    collections::BTreeMap,
    io,
    num::NonZero,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bench_emulator::{Counts, Fate, Path};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{Errno, read, write},
    thread::set_current_timer_slack,
};
use tokio::sync::oneshot;

use super::{lateness::Late, sys};
use crate::outcome::Scheduling;

/// A packet may be this early: at high rates that saves a sleep for each.
const EARLY: Duration = Duration::from_micros(10);

/// Reads from one device before the other has its turn and what is due is delivered.
const BATCH: usize = 64;

/// Packets under way; more stay in the device, which drops them when it is full.
const HELD_MAX: usize = 100_000;

/// Longer than any packet.
const PACKET_BYTES: usize = 2048;

/// A thread that moves packets until it is stopped.
#[derive(Debug)]
pub(super) struct Emulator {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<io::Result<Traffic>>,
}

/// What was moved.
#[derive(Debug)]
pub(super) struct Traffic {
    /// From the first device to the second, and back.
    pub(super) ways: [Moved; 2],
    pub(super) late: Late,
    pub(super) scheduling: Scheduling,
}

/// What became of the packets of one device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    pub(super) path: Counts,
    pub(super) delivered: u64,
    pub(super) bytes: u64,
    /// The other namespace's kernel did not take them.
    pub(super) refused: u64,
}

impl Emulator {
    /// Joins two devices, each with the path of what it sends.
    ///
    /// What the devices hold already is thrown away. `ended` is dropped when the thread ends.
    pub(super) fn start(ends: [(OwnedFd, Path); 2], ended: oneshot::Sender<()>) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let late = Late::new().map_err(io::Error::other)?;
        let ends = ends.map(|(device, path)| End { device, path, moved: Moved::default() });
        // Before the thread starts, and programs with it: their first packets count.
        for end in &ends {
            while end.read(&mut [0; PACKET_BYTES])?.is_some() {}
        }
        let stopped = Arc::clone(&stop);
        let work = move || {
            let _ended = ended;
            let scheduling = prepare_thread()?;
            let emulation = Emulation { start: Instant::now(), ends, held: BTreeMap::new(), taken: 0, late };
            emulation.run(&stopped, scheduling)
        };
        let thread = thread::Builder::new().name("emulator".to_owned()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; packets that are under way are gone.
    pub(super) fn stop(self) -> io::Result<Traffic> {
        write(&self.stop, &1_u64.to_ne_bytes())?;
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the emulator panicked")))
    }
}

fn prepare_thread() -> io::Result<Scheduling> {
    // By default the kernel lets every sleep last 50 µs longer.
    set_current_timer_slack(NonZero::new(1))?;
    match sys::become_real_time() {
        Ok(()) => Ok(Scheduling::RealTime),
        Err(_) => Ok(Scheduling::Ordinary),
    }
}

/// What the thread works on.
struct Emulation {
    start: Instant,
    ends: [End; 2],
    /// By the time at which they are due, and by the order in which they came.
    held: BTreeMap<(Duration, u64), Held>,
    taken: u64,
    late: Late,
}

struct End {
    device: OwnedFd,
    /// What becomes of the packets from this device.
    path: Path,
    moved: Moved,
}

struct Held {
    from: usize,
    packet: Box<[u8]>,
}

impl Emulation {
    fn run(mut self, stop: &OwnedFd, scheduling: Scheduling) -> io::Result<Traffic> {
        loop {
            self.deliver()?;
            let more = self.take_in()?;
            if self.wait(stop, more)? {
                break;
            }
        }
        let ways = self.ends.map(|end| Moved { path: end.path.counts(), ..end.moved });
        Ok(Traffic { ways, late: self.late, scheduling })
    }

    /// Delivers what is due.
    fn deliver(&mut self) -> io::Result<()> {
        let now = self.start.elapsed();
        while let Some(next) = self.held.first_entry() {
            let (due, _) = *next.key();
            if due > now + EARLY {
                break;
            }
            let Held { from, packet } = next.remove();
            self.late.record(self.start.elapsed().saturating_sub(due));
            let taken = write(&self.ends[1 - from].device, &packet);
            let moved = &mut self.ends[from].moved;
            match taken {
                Ok(_) => {
                    moved.delivered += 1;
                    moved.bytes += packet.len() as u64;
                }
                Err(Errno::BADFD | Errno::BADF) => return Err(io::Error::other("a device is gone")),
                Err(_) => moved.refused += 1,
            }
        }
        Ok(())
    }

    /// Takes in what the devices have, and returns whether they may have more.
    fn take_in(&mut self) -> io::Result<bool> {
        let mut more = false;
        for from in [0, 1] {
            more |= self.take_in_from(from)?;
        }
        Ok(more)
    }

    fn take_in_from(&mut self, from: usize) -> io::Result<bool> {
        let end = &mut self.ends[from];
        let mut buffer = [0; PACKET_BYTES];
        for _ in 0..BATCH {
            if self.held.len() >= HELD_MAX {
                return Ok(false);
            }
            let Some(packet) = end.read(&mut buffer)? else { return Ok(false) };
            if !is_ipv4(packet) {
                continue;
            }
            match end.path.send(self.start.elapsed(), packet.len()) {
                Fate::Lost | Fate::Overflowed => {}
                Fate::Arrives(due) => {
                    self.taken += 1;
                    self.held.insert((due, self.taken), Held { from, packet: packet.into() });
                }
            }
        }
        Ok(true)
    }

    /// Sleeps until there is something to do, and returns whether that is to stop.
    fn wait(&self, stop: &OwnedFd, more: bool) -> io::Result<bool> {
        let sleep = match self.held.first_key_value() {
            _ if more => Some(Duration::ZERO),
            Some(((due, _), _)) => Some(due.saturating_sub(self.start.elapsed())),
            None => None,
        };
        let timeout = sleep.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut on = [stop, &self.ends[0].device, &self.ends[1].device].map(|fd| PollFd::new(fd, PollFlags::IN));
        let on = if self.held.len() < HELD_MAX { &mut on[..] } else { &mut on[..1] };
        match poll(on, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(!on[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }
}

impl End {
    /// Reads a packet, if there is one.
    fn read<'a>(&self, buffer: &'a mut [u8; PACKET_BYTES]) -> io::Result<Option<&'a [u8]>> {
        match read(self.device.as_fd(), &mut buffer[..]) {
            Ok(bytes) => Ok(Some(&buffer[..bytes])),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Neighbours and routers talk IPv6 by themselves: were their packets to take part, the draws of ours would shift.
fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}
