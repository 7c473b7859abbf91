//! In from a visitor.

pub mod listener;
pub mod refusal;
pub mod replay;
pub mod intake;
pub mod switch;
pub mod service;
