//! What a visitor sees when there is no answer: the status, and `adit-error` on adit's own responses only.

mod entry;
mod kill;
mod link;
mod loops;
mod mark;
mod suspect;
mod turns;
mod upstream;
