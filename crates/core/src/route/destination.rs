//! What rules look at.

use std::borrow::Cow;

use crate::{
    failure::Failure,
    http::{host::Host, path},
    wire::exchange::RequestHead,
};

/// Returns host and path of a request in the normal form that [`super::RouteTable::find`] takes.
///
/// # Errors
///
/// [`Failure::BadRequest`] when the authority is none or the path could match two rules.
pub fn destination(head: &RequestHead) -> Result<(Host<'_>, Cow<'_, str>), Failure> {
    let host = Host::parse(&head.authority).map_err(|_| Failure::BadRequest)?;
    let path = path::normalise(head.target.path()).map_err(|_| Failure::BadRequest)?;
    Ok((host, path))
}
