//! What a request may look like, and what leaves of it.

pub mod edit;
pub mod forwarded;
pub mod head;
pub mod headers;
pub mod host;
pub mod path;
pub mod proxy_protocol;
pub mod trace;
