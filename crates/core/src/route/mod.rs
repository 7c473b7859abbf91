//! Host and path → target, for ingress rules and egress rules alike.

pub mod destination;
pub mod explain;
pub mod loose;
pub mod options;
pub mod pattern;
pub mod table;

pub use destination::destination;
pub use explain::Verdict;
pub use loose::Loose;
pub use options::RuleOptions;
pub use pattern::{BadPattern, HostPattern, PathPrefix, Pattern};
pub use table::{Conflict, RouteTable};
