//! The HTTP that comes out is the HTTP that went in: every case in both directions.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod bodies;
mod broken;
mod cancel;
mod edges;
mod expect;
mod fields;
mod heads;
mod framing;
mod one_view;
mod streaming;
mod switch;
mod trailers;
mod versions;
