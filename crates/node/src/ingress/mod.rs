//! In from a visitor.

pub mod activity;
pub mod connection;
pub mod entries;
pub mod intake;
pub mod listener;
pub mod patience;
pub mod proxy_protocol;
pub mod refusal;
pub mod replay;
pub mod rewound;
pub mod switch;
pub mod service;
pub mod stall;
pub mod tls;
pub mod visitors;
