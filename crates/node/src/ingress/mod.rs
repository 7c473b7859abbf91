//! In from a visitor.
//!
//! [`listener`] accepts, [`connection`] finds out what a connection is (PROXY header, TLS, version of HTTP), [`service`]
//! answers a request, once [`gate`] has let it in; [`visitors`], [`patience`], [`stall`] and [`activity`] bound what a
//! visitor may cost.

pub mod activity;
pub mod arrival;
pub mod connection;
pub mod entries;
pub mod gate;
pub mod handed;
pub mod intake;
pub mod lingering;
pub mod listener;
pub mod patience;
pub mod proxy_protocol;
pub mod refusal;
pub mod replay;
pub mod rewound;
pub mod switch;
pub mod seat;
pub mod service;
pub mod stall;
pub mod tls;
pub mod turns;
pub mod visitors;
