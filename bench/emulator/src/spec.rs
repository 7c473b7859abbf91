//! What a path does, and its text form: `delay=30ms loss=2% rate=100mbit queue=50ms`.

use std::{fmt, str::FromStr, time::Duration};

/// What one direction of a path does to packets.
#[derive(Debug, Clone, PartialEq)]
pub struct PathSpec {
    /// Time in flight, one way: `delay=30ms`.
    pub delay: Duration,
    /// Up to this much is added to the delay, evenly spread; packets stay in order: `jitter=2ms`.
    pub jitter: Duration,
    /// What is lost in flight: `loss=2%` or `burst=1%/30%`.
    pub loss: Loss,
    /// Bits per second, without limit where left out: `rate=100mbit`.
    pub rate: Option<u64>,
    /// The longest a packet may wait for its turn; one that would wait longer overflows: `queue=50ms`.
    pub queue: Duration,
    /// Packets that come late: `reorder=2%/5ms`.
    pub reorder: Option<Reorder>,
    /// Packets arrive only once in this time, all that came since together, as on radio links: `batch=5ms`.
    pub batch: Duration,
}

/// What is lost in flight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Each packet with the same chance.
    Random(f64),
    /// Gilbert's model ("Capacity of a burst-noise channel", 1960): each packet may begin a burst, and each packet
    /// of a burst, all of which are lost, may end it.
    Burst {
        /// Chance that a packet begins a burst.
        begin: f64,
        /// Chance that a burst ends with a packet.
        end: f64,
    },
}

/// Packets that come late without holding up those behind them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// Chance for each packet.
    pub share: f64,
    /// How much later it comes.
    pub by: Duration,
}

impl Default for PathSpec {
    /// A path that does nothing to packets; a rate, once set, has a queue of 50 ms.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::Random(0.0),
            rate: None,
            queue: Duration::from_millis(50),
            reorder: None,
            batch: Duration::ZERO,
        }
    }
}

/// A path's text that says nothing that a path can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not `key=value`.
    #[error("`{0}` is not KEY=VALUE")]
    NoValue(String),
    /// A key that no path has.
    #[error("`{0}` is not one of delay, jitter, loss, burst, rate, queue, reorder, batch")]
    UnknownKey(String),
    /// A duration without or with an unknown unit.
    #[error("`{0}` is not a time like 30ms, 500us or 2s")]
    Time(String),
    /// A share that is not one.
    #[error("`{0}` is not a share like 2% (0% to 100%)")]
    Share(String),
    /// Not two values.
    #[error("`{0}` is not two values like 1%/30%")]
    Pair(String),
    /// A rate without or with an unknown unit, or none at all.
    #[error("`{0}` is not a rate like 100mbit, 512kbit or 1gbit")]
    Rate(String),
}

impl FromStr for PathSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| SpecError::NoValue(word.into()))?;
            match key {
                "delay" => spec.delay = time(value)?,
                "jitter" => spec.jitter = time(value)?,
                "loss" => spec.loss = Loss::Random(share(value)?),
                "burst" => {
                    let (begin, end) = pair(value)?;
                    spec.loss = Loss::Burst { begin: share(begin)?, end: share(end)? };
                }
                "rate" => spec.rate = Some(rate(value)?),
                "queue" => spec.queue = time(value)?,
                "reorder" => {
                    let (chance, by) = pair(value)?;
                    spec.reorder = Some(Reorder { share: share(chance)?, by: time(by)? });
                }
                "batch" => spec.batch = time(value)?,
                unknown => return Err(SpecError::UnknownKey(unknown.into())),
            }
        }
        Ok(spec)
    }
}

impl fmt::Display for PathSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delay={:?}", self.delay)?;
        if !self.jitter.is_zero() {
            write!(f, " jitter={:?}", self.jitter)?;
        }
        match self.loss {
            Loss::Random(chance) => write!(f, " loss={}%", percent(chance))?,
            Loss::Burst { begin, end } => write!(f, " burst={}%/{}%", percent(begin), percent(end))?,
        }
        if let Some(rate) = self.rate {
            write!(f, " rate={}kbit queue={:?}", rate / 1000, self.queue)?;
        }
        if let Some(Reorder { share, by }) = self.reorder {
            write!(f, " reorder={}%/{by:?}", percent(share))?;
        }
        if !self.batch.is_zero() {
            write!(f, " batch={:?}", self.batch)?;
        }
        Ok(())
    }
}

/// Rounds to what anybody would write, so that 0.07 is 7 % and not 7.000000000000001 %.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

fn pair(text: &str) -> Result<(&str, &str), SpecError> {
    text.split_once('/').ok_or_else(|| SpecError::Pair(text.into()))
}

fn time(text: &str) -> Result<Duration, SpecError> {
    let bad = || SpecError::Time(text.into());
    let (number, unit) = number(text).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => number,
        "ms" => number / 1e3,
        "us" | "µs" => number / 1e6,
        "ns" => number / 1e9,
        _ => return Err(bad()),
    };
    // To the nanosecond, or 0.1 ms would be 99,999 ns.
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

fn share(text: &str) -> Result<f64, SpecError> {
    let value = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok()).map(|percent| percent / 100.0);
    value.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| SpecError::Share(text.into()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive; nobody has a path of 10^19 bit/s"
)]
fn rate(text: &str) -> Result<u64, SpecError> {
    let bad = || SpecError::Rate(text.into());
    let (number, unit) = number(text).ok_or_else(bad)?;
    let bits = match unit {
        "gbit" => number * 1e9,
        "mbit" => number * 1e6,
        "kbit" => number * 1e3,
        _ => return Err(bad()),
    };
    if bits >= 1.0 { Ok(bits.round() as u64) } else { Err(bad()) }
}

fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_written() {
        let text = "delay=30ms jitter=2ms burst=1%/30% rate=100000kbit queue=50ms reorder=2%/5ms batch=1ms";
        let spec: PathSpec = text.parse().expect("a path");
        assert_eq!(spec.delay, Duration::from_millis(30));
        assert_eq!(spec.loss, Loss::Burst { begin: 0.01, end: 0.3 });
        assert_eq!(spec.rate, Some(100_000_000));
        assert_eq!(spec.to_string(), text);
        let random: PathSpec = "loss=7% rate=1gbit".parse().expect("a path");
        assert_eq!(random.to_string(), "delay=0ns loss=7% rate=1000000kbit queue=50ms");
    }

    #[test]
    fn nonsense_is_named() {
        let cases = [
            ("delay", SpecError::NoValue("delay".into())),
            ("speed=3", SpecError::UnknownKey("speed".into())),
            ("delay=30", SpecError::Time("30".into())),
            ("delay=1h", SpecError::Time("1h".into())),
            ("loss=2", SpecError::Share("2".into())),
            ("loss=101%", SpecError::Share("101%".into())),
            ("burst=1%", SpecError::Pair("1%".into())),
            ("rate=0mbit", SpecError::Rate("0mbit".into())),
            ("rate=100", SpecError::Rate("100".into())),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<PathSpec>(), Err(error));
        }
    }
}
