//! What an upstream saw.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderMap, Method, Request, Uri, Version};

use crate::message::values;

/// Counts of connections and requests, shared with the server that counts.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    accepted: AtomicUsize,
    open: AtomicUsize,
    abandoned: AtomicUsize,
    heads: Mutex<Vec<Head>>,
}

/// The head of a request as the upstream got it.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target, with scheme and authority over HTTP/2.
    pub uri: Uri,
    /// The version.
    pub version: Version,
    /// All fields.
    pub headers: HeaderMap,
}

impl Head {
    /// Returns all values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }
}

impl Counts {
    /// Returns how many connections were accepted.
    pub fn connections(&self) -> usize {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns how many requests were given up by the peer before the head of their response.
    pub fn abandoned(&self) -> usize {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    /// Returns how many requests came.
    pub fn requests(&self) -> usize {
        self.0.heads.lock().unwrap().len()
    }

    /// Returns the head of the last request.
    pub fn last(&self) -> Head {
        self.0.heads.lock().unwrap().last().expect("a request").clone()
    }

    pub(super) fn connected(&self) -> Connected {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Connected(self.clone())
    }

    pub(super) fn request<B>(&self, request: &Request<B>) -> Unanswered {
        let head = Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        };
        self.0.heads.lock().unwrap().push(head);
        Unanswered(Some(self.clone()))
    }
}

/// Counts a connection for as long as it lives.
pub(super) struct Connected(Counts);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a request that is dropped without an answer.
pub(super) struct Unanswered(Option<Counts>);

impl Unanswered {
    pub(super) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            counts.0.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}
