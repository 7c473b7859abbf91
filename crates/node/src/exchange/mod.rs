//! One request and its response on one QUIC stream: asked on one node, answered on the other.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`upload`] a request body on its way over a link
//! 2. [`reply`] what comes back before the body of a response
//! 3. [`response`] a response that came over a link
//! 4. [`ask`](mod@ask) the side that asks
//! 5. [`answer`](mod@answer) the side that answers

pub mod upload;
pub mod reply;
pub mod response;
pub mod ask;
pub mod answer;

pub use self::{
    answer::{Handled, answer},
    ask::{Unanswered, ask},
    response::AnswerBody,
};
