//! A network path that delays, queues and loses packets: pure, so that the same path can be run over real devices
//! and in virtual time.
//!
//! 1. [`draw`]: chance that depends on a seed and an index only
//! 2. [`spec`]: what a path does, and its text form
//! 3. [`path`]: what becomes of each packet

pub mod draw;
pub mod path;
pub mod spec;

pub use path::{Counts, Direction, Fate, Path};
pub use spec::{Loss, PathSpec, Reorder, SpecError};
