//! What must hold for any bytes: the properties that fuzzing looks for counterexamples to.
//!
//! Each target takes bytes and panics when they break its property. `tests/fuzz` makes bytes that reach further and
//! further; `cargo test` replays those that it has kept. Beside what a target asserts, nothing in it may panic, and
//! what it decodes may take no more memory than [`memory::within`] says.
//!
//! Lowest first:
//!
//! 1. [`memory`] how much is allocated
//! 2. [`stable`] what is decoded, encoded and decoded again
//! 3. [`http1`] one end of HTTP/1.1 without a network, and a strict reader of what comes out of it
//! 4. [`outgoing`] what leaves a node for an upstream or a visitor
//! 5. one file for each group of targets: [`frames`], [`control`], [`exchange`], [`names`], [`fields`], [`routes`],
//!    [`proxy`], [`visitor`], [`pushed`], [`config`]
//! 6. [`script`] what a hostile peer does on a link, step by step
//! 7. [`session`] a node's end of that link

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a property is broken by panicking")]

pub mod memory;
pub mod stable;
pub mod http1;
pub mod outgoing;
pub mod frames;
pub mod control;
pub mod exchange;
pub mod names;
pub mod fields;
pub mod routes;
pub mod proxy;
pub mod visitor;
pub mod pushed;
pub mod config;
pub mod script;
pub mod session;

/// A property of any bytes.
pub type Property = fn(&[u8]);

/// Every target by its name, which is also that of its corpus and of its program in `tests/fuzz`.
pub const TARGETS: &[(&str, Property)] = &[
    ("frames", frames::frames),
    ("control", control::control),
    ("request", exchange::request),
    ("reply", exchange::reply),
    ("body_frame", exchange::body_frame),
    ("host", names::host),
    ("path", names::path),
    ("fields", fields::fields),
    ("routes", routes::routes),
    ("proxy", proxy::proxy),
    ("visitor", visitor::visitor),
    ("pushed", pushed::pushed),
    ("config", config::config),
    ("session_server", session::session_server),
    ("session_client", session::session_client),
];
