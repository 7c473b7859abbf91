//! The connections to a server that are kept.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::connection::{Http2, Sender};

/// The connections to a server that wait for requests.
#[derive(Debug)]
pub struct Pool {
    /// HTTP/1.1 connections that nobody uses, the most recently used last.
    idle: VecDeque<Idle>,
    /// The one HTTP/2 connection, shared by all who use it.
    shared: Option<Http2>,
    idle_timeout: Duration,
    idle_connections_max: usize,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// Makes an empty one, that keeps a connection for `idle_timeout` and at most `idle_connections_max` of
    /// them.
    pub fn new(idle_timeout: Duration, idle_connections_max: usize) -> Self {
        Self { idle: VecDeque::new(), shared: None, idle_timeout, idle_connections_max }
    }

    /// Takes the connection that was used last, of those that are still good.
    pub fn take(&mut self) -> Option<Sender> {
        self.shared.take_if(|shared| shared.is_closed());
        if let Some(shared) = &self.shared {
            return Some(Sender::Http2(shared.clone()));
        }
        self.close_idle();
        for index in (0..self.idle.len()).rev() {
            let sender = &self.idle.get(index)?.sender;
            // One that is neither closed nor ready is still busy with the request body of its last exchange.
            if sender.is_closed() {
                self.idle.remove(index);
            } else if sender.is_ready() {
                return self.idle.remove(index).map(|idle| idle.sender);
            }
        }
        None
    }

    /// Closes those that nobody has used for the idle timeout.
    pub fn close_idle(&mut self) {
        while self.idle.front().is_some_and(|idle| idle.since.elapsed() > self.idle_timeout) {
            self.idle.pop_front();
        }
    }

    /// Shows it a new connection: an HTTP/2 one is shared from now on.
    pub fn add(&mut self, sender: &Sender) {
        match sender {
            Sender::Http1(_) => {}
            Sender::Http2(http2) => self.shared = Some(http2.clone()),
        }
    }

    /// Gives back a connection whose exchange is over.
    pub fn give_back(&mut self, sender: Sender) {
        if sender.is_http2() || sender.is_closed() || self.idle_connections_max == 0 {
            return;
        }
        if self.idle.len() >= self.idle_connections_max {
            self.idle.pop_front();
        }
        self.idle.push_back(Idle { sender, since: Instant::now() });
    }
}
