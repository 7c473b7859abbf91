//! A hostile client, and an honest one beside it.

use adit_node::settings::UpstreamSettings;
use adit_tests::{
    Direction, Tunnel,
    attack::{self, End, Foe},
    log::Log,
    peer::Peer,
    settings::{self, pattern},
};

use super::{ROUNDS, ROUNDS_BORNE, upstream};

crate::tests_of_attacks! {
    a_control_message_that_is_none_ends_the_link "control-garbage",
    a_length_bomb_on_the_control_stream_ends_the_link "control-bomb",
    a_control_message_that_is_cut_ends_the_link "control-cut",
    a_control_stream_that_ends_ends_the_link "control-end",
    a_flood_of_heartbeats_ends_the_link "control-flood",
    a_second_registration_ends_the_link "register-twice",
    a_second_farewell_ends_the_link "drain-twice",
    a_farewell_that_nobody_asked_for_ends_the_link "drained-unasked",
    whoever_has_said_farewell_may_still_ask "drain-and-ask",
    a_receipt_for_what_was_not_pushed_ends_the_link "acknowledge-unpushed",
    a_flood_of_questions_for_configuration_ends_the_link "sync-flood",
    streams_on_which_nothing_is_said_cost_their_link_only "silent-streams",
    heads_that_never_end_cost_their_link_only "head-dribble",
    a_storm_of_streams_that_are_reset_at_once_ends_the_link "reset-empty",
    a_storm_of_requests_that_are_reset_ends_the_link "reset-asked",
    a_storm_of_requests_whose_answers_nobody_wants_ends_the_link "stop-asked",
    length_bombs_instead_of_requests_end_the_link "head-bomb",
    streams_that_carry_no_request_end_the_link "head-garbage",
    requests_that_are_cut_end_the_link "head-cut",
    replies_to_what_nobody_asked_end_the_link "answer-unasked",
    requests_that_no_rule_takes_reach_nobody "no-rule",
    bodies_that_are_none_end_the_link "body-garbage",
    bodies_longer_than_told_end_the_link "body-longer",
    bodies_shorter_than_told_end_the_link "body-shorter",
    bodies_of_empty_pieces_end_the_link "body-of-nothing",
    trailers_without_end_end_the_link "trailer-bomb",
    responses_that_are_never_read_cost_their_link_only "never-read",
    uploads_that_never_go_on_cost_their_link_only "never-sent",
    configuration_from_a_client_ends_the_link "push-to-server",
    a_flood_of_datagrams_costs_its_link_only "datagrams",
    a_new_address_with_every_packet_costs_its_link_only "migration",
}

async fn survives(name: &str) {
    let log = Log::start();
    let attack = attack::named(name).unwrap();
    let upstream = upstream();
    let rules = settings::to(pattern(Some("app.test"), None), UpstreamSettings::new(vec![upstream.http()]));
    let tunnel = Tunnel::with(rules).start(Direction::Forward).await;
    let before = upstream.saw().requests();
    let mut foe = Foe::new(Peer::join_named("foe", tunnel.server.tunnel, &tunnel.trust).await.unwrap());
    match attack.end {
        End::Closed(why) => {
            foe.rounds(attack, ROUNDS).await;
            foe.is_shown_out().await;
            log.says(&["WARN", "client=foe", "client shown out", why]).await;
        }
        End::Borne => assert!(foe.rounds(attack, ROUNDS_BORNE).await, "{:?}", foe.peer.quic.close_reason()),
    }
    if name == "no-rule" {
        assert_eq!(upstream.saw().requests(), before);
    }
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""));
    assert_eq!(log.count(&["panicked"]), 0, "{}", log.text());
    assert_eq!(log.count(&["client=client", "left"]) + log.count(&["disconnected"]), 0, "{}", log.text());
    log.is_short();
}
