//! Host and path → target, for ingress rules and egress rules alike.

pub mod pattern;
pub mod table;

pub use pattern::{BadPattern, HostPattern, PathPrefix, Pattern};
pub use table::{Conflict, RouteTable};
