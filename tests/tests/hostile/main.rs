//! A hostile peer on a link that it was let into loses that link, or costs no more than anybody else; who is beside it
//! notices nothing, and the log says who it was.
//!
//! `just hostile` runs the same attacks for longer, against real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod from_client;
mod from_server;
mod strangers;

use std::future::pending;

use adit_tests::{
    Upstream,
    attack::{ATTACKS, stranger::APPROACHES},
    body::full,
    upstream::echo,
};
use http::Response;

/// Rounds that are enough for every attack that ends.
const ROUNDS: usize = 300;

/// Rounds of an attack that does not end: more add nothing.
const ROUNDS_BORNE: usize = 5;

/// What is asked of it comes back; more comes from `/large`, and nothing from `/never`.
fn upstream() -> Upstream {
    Upstream::answering(|request| async {
        match request.uri().path() {
            "/large" => Response::new(full(vec![0; 1024 * 1024])),
            "/never" => pending().await,
            _ => echo(request).await,
        }
    })
}

/// Makes a test of each attack, and a list of them.
#[macro_export]
macro_rules! tests_of_attacks {
    ($($test:ident $attack:literal),+ $(,)?) => {
        pub(super) const TESTED: &[&str] = &[$($attack),+];
        $(#[tokio::test]
        async fn $test() {
            survives($attack).await;
        })+
    };
}

#[test]
fn every_attack_is_tested_from_every_side_that_can_make_it() {
    use adit_tests::attack::By;
    for (side, tested) in [(By::Client, from_client::TESTED), (By::Server, from_server::TESTED)] {
        let possible: Vec<_> = ATTACKS.iter().filter(|attack| attack.by == side || attack.by == By::Either).collect();
        assert!(possible.len() > 10, "{side:?}");
        for attack in &possible {
            assert!(tested.contains(&attack.name), "{} by {side:?}", attack.name);
        }
        assert_eq!(possible.len(), tested.len(), "{side:?}");
    }
    let approaches: Vec<_> = APPROACHES.iter().map(|approach| approach.name).collect();
    assert_eq!(approaches, strangers::TESTED);
}
