//! Whoever is no client yet, or never will be.

use std::sync::Arc;

use adit_tests::{
    Direction, Tunnel,
    attack::stranger::{APPROACHES, Stranger},
    log::Log,
    peer::Peer,
};

use super::upstream;

/// Rounds that are enough to be noticed.
const ROUNDS: usize = 5;

crate::tests_of_attacks! {
    handshakes_that_nobody_goes_on_with_keep_nobody_out "initial-flood",
    a_client_that_comes_and_goes_keeps_nobody_out "join-and-leave",
    a_client_that_does_not_register_is_shown_out "never-register",
    a_length_bomb_instead_of_a_registration_makes_no_link "register-bomb",
    nonsense_instead_of_a_registration_makes_no_link "register-garbage",
    another_message_than_a_registration_makes_no_link "register-otherwise",
    a_certificate_of_another_authority_makes_no_link "wrong-authority",
    another_protocol_makes_no_link "wrong-alpn",
}

async fn survives(name: &str) {
    let log = Log::start();
    let approach = APPROACHES.iter().find(|approach| approach.name == name).unwrap();
    let upstream = upstream();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    let trust = Arc::new(tunnel.trust);
    let mut stranger = Stranger::new(tunnel.server.tunnel, Arc::clone(&trust));
    for _ in 0..ROUNDS {
        stranger.round(approach).await;
    }
    if !approach.said.is_empty() {
        log.says(&[approach.said]).await;
    }
    // While they are still there, another client joins.
    let _late = Peer::join_named("late", tunnel.server.tunnel, &trust).await.unwrap();
    let mut visitor = adit_tests::Visitor::http1(tunnel.client.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    assert_eq!(log.count(&["panicked"]), 0, "{}", log.text());
    log.is_short();
}
