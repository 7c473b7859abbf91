//! What was measured, and whether it can be trusted.

use std::{num::NonZero, process::ExitStatus, time::Duration};

use super::emulator::{Moved, Traffic};
use crate::{
    outcome::{Report, Tcp, Way},
    spec::Spec,
};

/// How the programs ended.
pub(super) struct Ended {
    pub(super) a: ExitStatus,
    /// Where it ended by itself.
    pub(super) b: Option<ExitStatus>,
    pub(super) took: Duration,
}

/// Puts together what was measured.
pub(super) fn report(spec: &Spec, tcp: Tcp, ended: &Ended, traffic: &Traffic, dropped: [u64; 2]) -> Report {
    let [there, back] = &traffic.ways;
    Report {
        seed: spec.seed,
        seconds: ended.took.as_secs_f64(),
        a: ended.a.code(),
        b: ended.b.and_then(|status| status.code()),
        there: way(spec.path.to_string(), there, dropped[0]),
        back: way(spec.path_back.to_string(), back, dropped[1]),
        lateness: traffic.late.summary(spec.late_max),
        scheduling: traffic.scheduling,
        tcp,
    }
}

fn way(path: String, moved: &Moved, dropped: u64) -> Way {
    let Moved { path: counts, delivered, bytes, refused } = *moved;
    let gone = counts.lost + counts.overflowed + delivered + refused;
    Way {
        path,
        sent: counts.sent,
        lost: counts.lost,
        overflowed: counts.overflowed,
        delivered,
        bytes,
        under_way: counts.sent - gone,
        dropped_by_kernel: refused + dropped,
    }
}

/// Says why the path was not what was asked for, if it was not.
pub(super) fn distrust(report: &Report) -> Option<String> {
    let Report { there, back, lateness, .. } = report;
    let dropped = there.dropped_by_kernel + back.dropped_by_kernel;
    if let Some(dropped) = NonZero::new(dropped) {
        return Some(format!("the kernel dropped {dropped} packets that the path did not lose"));
    }
    let (late, allowed) = (lateness.p99_us, lateness.p99_allowed_us);
    (late > allowed)
        .then(|| format!("one packet in a hundred came {late:.0} µs late or more, allowed are {allowed:.0}"))
}
