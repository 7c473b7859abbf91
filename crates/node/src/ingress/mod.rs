//! In from a visitor.

pub mod listener;
pub mod refusal;
pub mod service;
