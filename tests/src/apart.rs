//! A client on a thread of its own, that can be stopped the way SIGSTOP stops a process: its sockets stay, and nobody
//! answers.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
};

use adit_node::settings::ClientSettings;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::node::ClientNode;

/// A client with a runtime of its own. Dropped, it ends without a word.
#[derive(Debug)]
pub struct Apart {
    runtime: Handle,
    frozen: Arc<Frozen>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Frozen {
    is: Mutex<bool>,
    over: Condvar,
}

impl Apart {
    /// Runs a client. It has a link as soon as its server says so.
    ///
    /// # Panics
    ///
    /// When it cannot be bound.
    pub fn start(settings: ClientSettings) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let _client = ClientNode::start(settings).await;
                // Dropped with its owner is as good as told.
                let _ = ended.await;
            });
        });
        Self { runtime: handle, frozen: Arc::default(), end: Some(end), thread: Some(thread) }
    }

    /// Stops it in the midst of what it does.
    pub fn freeze(&self) {
        *self.frozen.is.lock().unwrap() = true;
        let frozen = Arc::clone(&self.frozen);
        // Holds the only thread there is.
        self.runtime.spawn(async move {
            let is = frozen.is.lock().unwrap();
            drop(frozen.over.wait_while(is, |is| *is).unwrap());
        });
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        *self.frozen.is.lock().unwrap() = false;
        self.frozen.over.notify_all();
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.thaw();
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A client that panicked has said so.
            let _ = thread.join();
        }
    }
}
