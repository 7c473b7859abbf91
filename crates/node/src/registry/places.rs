//! How many links each client has in the groups of a node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{
    admission::{Objection, links::Links},
    id::{ClientId, Group, Identity},
};

/// Counts the links of clients. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<Links>>);

/// What a link takes of what its client may have. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Places,
    identity: Identity,
    group: Group,
    id: ClientId,
}

impl Places {
    /// Counts one more link of a client, unless it has `max` already. Takes a lock: not for requests.
    ///
    /// # Errors
    ///
    /// [`Objection::TooManyLinks`] when it has.
    pub fn take(&self, identity: &Identity, group: &Group, id: &ClientId, max: usize) -> Result<Place, Objection> {
        self.lock().enter(identity, group, id, max)?;
        Ok(Place { places: self.clone(), identity: identity.clone(), group: group.clone(), id: id.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        // What a panic left behind is still a count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().leave(&self.identity, &self.group, &self.id);
    }
}
