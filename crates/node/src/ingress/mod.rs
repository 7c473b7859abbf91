//! In from a visitor.

pub mod connection;
pub mod entries;
pub mod listener;
pub mod proxy_protocol;
pub mod refusal;
pub mod replay;
pub mod rewound;
pub mod service;
pub mod tls;
