//! What a rule asks of its visitors, before anything of their requests enters the tunnel.
//!
//! 1. [`pace`] how often each visitor may ask
//! 2. [`password`] whether a password is the right one
//! 3. [`keeper`] all that one rule asks

pub mod pace;
pub mod password;
pub mod keeper;

pub use self::{
    keeper::{Denial, Keeper},
    password::Verifier,
};
