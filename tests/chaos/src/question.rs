//! What a request asks for. All of it stands in the path, so that the backend needs no table.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::Context;

/// A body of at most this many bytes is kept by adit until there is a reply, so it can be sent again.
const REPLAYED_BYTES_MAX: u64 = 64 * 1024;

/// A request and what has to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// No two requests of a run have the same.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// How many bytes go back, up, or each way.
    pub(crate) bytes: u64,
    /// In how many pieces.
    pub(crate) pieces: u32,
    /// How long before each of them.
    pub(crate) gap: Duration,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GET, answered with a body of known length.
    Get,
    /// GET, answered with a body without a length.
    Stream,
    /// GET, answered with a body without a length, and trailers.
    Trailers,
    /// POST of a body, answered with a small one.
    Post,
    /// PUT of a body, answered with a small one.
    Put,
    /// A switch to WebSocket; every piece comes back before the next one goes.
    Switch,
}

/// How many bytes answer a body that was sent.
pub(crate) const RECEIPT_BYTES: u64 = 700;

impl Kind {
    const ALL: [Self; 6] = [Self::Get, Self::Stream, Self::Trailers, Self::Post, Self::Put, Self::Switch];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Stream => "stream",
            Self::Trailers => "trailers",
            Self::Post => "post",
            Self::Put => "put",
            Self::Switch => "switch",
        }
    }
}

impl Question {
    /// Draws a request. Most are small; a few are large, slow or long.
    pub(crate) fn draw(id: u64, random: &mut fastrand::Rng) -> Self {
        let small = random.u64(0..16 * 1024);
        let ms = Duration::from_millis;
        let (kind, bytes, pieces, gap) = match random.u32(0..1000) {
            0..520 => (Kind::Get, small, 1, ms(0)),
            520..580 => (Kind::Stream, small, random.u32(1..8), ms(0)),
            580..620 => (Kind::Trailers, small, random.u32(1..8), ms(0)),
            620..632 => (Kind::Get, random.u64(64 * 1024..3 * 1024 * 1024), 16, ms(0)),
            632..670 => (Kind::Stream, 40_000, random.u32(5..15), ms(random.u64(50..200))),
            670..675 => (Kind::Stream, 10_000, 40, ms(250)),
            675..870 => (Kind::Post, random.u64(0..32 * 1024), 1, ms(0)),
            870..930 => (Kind::Put, random.u64(0..32 * 1024), 1, ms(0)),
            930..940 => (Kind::Put, random.u64(128 * 1024..1024 * 1024), 16, ms(10)),
            940..980 => (Kind::Post, random.u64(1..100_000), 5, ms(random.u64(10..100))),
            _ => (Kind::Switch, random.u64(100..20_000), random.u32(3..20), ms(random.u64(50..200))),
        };
        Self { id, kind, bytes, pieces, gap }
    }

    /// Returns how long it takes where nothing is in the way.
    pub(crate) fn takes(&self) -> Duration {
        self.gap * self.pieces
    }

    /// Returns the bytes before each piece, and the end.
    pub(crate) fn offset(&self, piece: u32) -> u64 {
        self.bytes * u64::from(piece) / u64::from(self.pieces)
    }

    /// Returns whether adit may send it again when it is in doubt (RFC 9110 §9.2.2) and still has all of it.
    pub(crate) fn is_safe(&self) -> bool {
        match self.kind {
            Kind::Get => true,
            Kind::Stream => true,
            Kind::Trailers => true,
            Kind::Put => self.bytes <= REPLAYED_BYTES_MAX,
            Kind::Post => false,
            Kind::Switch => false,
        }
    }
}

/// Waits before a piece. A timer takes a millisecond even for nothing.
pub(crate) async fn pause(gap: Duration) {
    if !gap.is_zero() {
        tokio::time::sleep(gap).await;
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, bytes, pieces, gap } = self;
        write!(f, "/{}/{id}/{bytes}/{pieces}/{}", kind.name(), gap.as_millis())
    }
}

impl FromStr for Question {
    type Err = anyhow::Error;

    fn from_str(path: &str) -> anyhow::Result<Self> {
        let mut parts = path.trim_start_matches('/').split('/');
        let mut next = || parts.next().with_context(|| format!("{path} asks for nothing"));
        let name = next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| format!("no kind {name}"))?;
        let (id, bytes, pieces) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
        anyhow::ensure!(pieces > 0, "{path} has no pieces");
        Ok(Self { id, kind, bytes, pieces, gap: Duration::from_millis(next()?.parse()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_all_of_a_request() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = Vec::new();
        for id in 0..2000 {
            let question = Question::draw(id, &mut random);
            assert_eq!(question.to_string().parse::<Question>().unwrap(), question);
            if !seen.contains(&question.kind) {
                seen.push(question.kind);
            }
        }
        assert_eq!(seen.len(), Kind::ALL.len());
    }

    #[test]
    fn pieces_make_up_the_whole() {
        let question: Question = "/stream/1/1000/7/0".parse().unwrap();
        let offsets: Vec<u64> = (0..=7).map(|piece| question.offset(piece)).collect();
        assert!(offsets.is_sorted());
        assert_eq!((offsets[0], offsets[7]), (0, 1000));
    }
}
