//! The HTTP that comes out is the HTTP that went in: every case in both directions.

mod bodies;
mod broken;
mod cancel;
mod fields;
mod streaming;
mod trailers;
mod versions;
