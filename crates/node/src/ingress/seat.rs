//! What a connection counts for, as long as it lasts, and what it was switched to.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{
    activity::{Activity, InFlight},
    visitors::Admitted,
};

/// A visitor's connection among all of them. Cloning makes another handle; the last one that is dropped frees the
/// place.
#[derive(Clone, Debug)]
pub struct Seat {
    place: Arc<Place>,
    /// What goes on on the connection, where more than one exchange can.
    activity: Option<Activity>,
}

#[derive(Debug)]
struct Place {
    _place: OwnedSemaphorePermit,
    /// Not for a trusted proxy, which stands for many.
    _admitted: Option<Admitted>,
}

/// A switched connection's right to go on: it counts like the connection, and the connection is not idle. Given back
/// when dropped.
#[derive(Debug)]
pub struct Kept {
    _place: Arc<Place>,
    _in_flight: Option<InFlight>,
}

impl Seat {
    /// Takes a place among all connections, and among those of the visitor's address.
    pub fn new(place: OwnedSemaphorePermit, admitted: Option<Admitted>) -> Self {
        Self { place: Arc::new(Place { _place: place, _admitted: admitted }), activity: None }
    }

    /// Notes what goes on on the connection.
    pub fn with_activity(mut self, activity: Activity) -> Self {
        self.activity = Some(activity);
        self
    }

    /// Returns what goes on counting when a request of the connection is switched to another protocol: hyper is done
    /// with it then.
    pub fn keep(&self) -> Kept {
        let enter = |activity: &Activity| {
            let mut in_flight = activity.enter();
            in_flight.completed();
            in_flight
        };
        Kept { _place: Arc::clone(&self.place), _in_flight: self.activity.as_ref().map(enter) }
    }
}
