//! The table.

use std::{fmt, time::Duration};

use crate::{
    canary::Fared,
    hostility::{Hostility, Volume},
    process::{Memory, Usage},
};

/// Below this the machine decides, and not the attack.
const P99_FLOOR: Duration = Duration::from_millis(5);

/// How much more memory a node may have in the second half than in the first, at most.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// What came of an attack.
pub(crate) struct Row {
    pub(crate) hostility: Hostility,
    pub(crate) volume: Volume,
    pub(crate) beside_attack: Fared,
    pub(crate) beside_load: Fared,
    pub(crate) before: Usage,
    pub(crate) after: Usage,
    pub(crate) memory: Memory,
    pub(crate) panics: usize,
    /// How many links were closed, and why the last of them was.
    pub(crate) ended: (usize, String),
    pub(crate) length: Duration,
}

/// Returns the head of the table.
pub(crate) fn head() -> String {
    "| attack | links/s · exchanges/s · KiB/s | requests | errors | p50 ms | p99 ms | p99 ms of as much load | ratio | CPU | most MiB, first and second half | links closed, why |\n\
     |---|---|---|---|---|---|---|---|---|---|---|"
        .to_owned()
}

impl Row {
    fn ratio(&self) -> f64 {
        let beside_load = self.beside_load.per_mille(990).max(P99_FLOOR);
        self.beside_attack.per_mille(990).as_secs_f64() / beside_load.as_secs_f64()
    }

    /// Returns whether the canary noticed nothing, and the node is as it was.
    pub(crate) fn is_borne(&self) -> bool {
        let grown = self.memory.second_kib.saturating_sub(self.memory.first_kib);
        self.beside_attack.errors.is_empty()
            && self.panics == 0
            && grown <= GROWTH_KIB_MAX
            && self.ratio() <= 2.0
            && (self.ended.0 > 0 || !self.hostility.ends_the_link())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.volume.per_second();
        let ms = |fared: &Fared, share| fared.per_mille(share).as_secs_f64() * 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand at most")]
        let ticks = self.after.cpu_ticks.saturating_sub(self.before.cpu_ticks) as f64;
        write!(
            f,
            "| {} | {:.0} · {:.0} · {:.0} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} % | {} → {} | {}{} |",
            self.hostility,
            per_second.links,
            per_second.exchanges,
            per_second.bytes / 1024.0,
            self.beside_attack.requests(),
            self.beside_attack.errors.len(),
            ms(&self.beside_attack, 500),
            ms(&self.beside_attack, 990),
            ms(&self.beside_load, 990),
            self.ratio(),
            // A tick is a hundredth of a second.
            ticks / self.length.as_secs_f64(),
            self.memory.first_kib / 1024,
            self.memory.second_kib / 1024,
            match self.ended {
                (0, _) => "none".to_owned(),
                (count, ref why) => format!("{count}, {why}"),
            },
            if self.is_borne() { "" } else { " **broken**" },
        )?;
        if let Some(error) = self.beside_attack.errors.first() {
            write!(f, "\n  first error: {error}")?;
        }
        if self.panics > 0 {
            write!(f, "\n  {} panics", self.panics)?;
        }
        Ok(())
    }
}
