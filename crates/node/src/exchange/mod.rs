//! One request and its response on one QUIC stream: asked on one node, answered on the other.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`patience`] how long whoever asks waits on a link
//! 2. [`upload`] a request body on its way over a link
//! 3. [`reply`] what comes back before the body of a response
//! 4. [`response`] a response that came over a link
//! 5. [`ask`](mod@ask) the side that asks
//! 6. [`answer`](mod@answer) the side that answers

pub mod patience;
pub mod upload;
pub mod reply;
pub mod response;
pub mod ask;
pub mod answer;

pub use self::{
    answer::{Bounds, Handled, answer},
    ask::{Unanswered, ask},
    patience::{Patience, Sent},
    response::AnswerBody,
};
