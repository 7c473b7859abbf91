//! Links come, go, come back and share the work; who may not have one gets none.

mod counted;
mod drain;
mod groups;
mod handshake;
mod trouble;
mod join;
mod moving;
mod reconnect;
mod restart;
mod storm;
