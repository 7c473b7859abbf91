//! A hostile server, and an honest one beside it, of one client.

use adit_core::{
    limits::Limits,
    wire::exchange::{self, Reply, ReplyHead},
};
use adit_node::settings::{HostPort, UpstreamSettings};
use adit_tests::{
    Upstream, Visitor,
    attack::{self, End, Foe},
    log::Log,
    node::{ClientNode, ServerNode},
    peer::{Host, Peer},
    settings::{self, CLIENT, GROUP, pattern},
    trust::Trust,
};
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};

use super::{ROUNDS, ROUNDS_BORNE, upstream};

crate::tests_of_attacks! {
    a_control_message_that_is_none_ends_the_link "control-garbage",
    a_length_bomb_on_the_control_stream_ends_the_link "control-bomb",
    a_control_message_that_is_cut_ends_the_link "control-cut",
    a_control_stream_that_ends_ends_the_link "control-end",
    a_flood_of_heartbeats_ends_the_link "control-flood",
    a_second_answer_to_the_registration_ends_the_link "accept-twice",
    a_second_farewell_ends_the_link "drain-twice",
    a_farewell_that_nobody_asked_for_ends_the_link "drained-unasked",
    a_receipt_for_what_was_not_pushed_ends_the_link "acknowledge-unpushed",
    a_question_for_a_clients_configuration_ends_the_link "sync-a-client",
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
    a_flood_of_configuration_ends_the_link "push-flood",
    configuration_of_too_many_rules_ends_the_link "push-huge",
    a_length_bomb_instead_of_configuration_ends_the_link "push-bomb",
    configuration_that_is_none_ends_the_link "push-garbage",
    a_flood_of_configuration_that_is_not_allowed_ends_the_link "push-forbidden",
    configuration_that_breaks_off_ends_the_link "push-dribble",
    a_flood_of_datagrams_costs_its_link_only "datagrams",
}

/// A client of an honest server and of a hostile one.
struct Between {
    log: Log,
    upstream: Upstream,
    honest: ServerNode,
    host: Host,
    foe: Foe,
    client: ClientNode,
}

impl Between {
    async fn start() -> Self {
        let log = Log::start();
        let (trust, upstream) = (Trust::default(), upstream());
        let honest = ServerNode::start(settings::public_server(&trust)).await;
        let host = Host::listen(&trust);
        let mut settings = settings::client(&trust, CLIENT, honest.tunnel);
        settings.tunnel.connect.push(HostPort { host: host.address.ip().to_string(), port: host.address.port() });
        settings.egress = settings::to(pattern(Some("app.test"), None), UpstreamSettings::new(vec![upstream.http()]));
        settings.http = Some(settings::entry());
        let client = ClientNode::start(settings).await;
        let foe = Foe::new(host.welcome().await);
        honest.has_clients(GROUP, 1).await;
        Self { log, upstream, honest, host, foe, client }
    }

    /// Checks that the link is closed for what the log says, and that the honest server notices nothing.
    async fn shown_out(self, why: &str) {
        self.foe.is_shown_out().await;
        let server = format!("server={}", self.host.address);
        self.log.says(&["WARN", &server, "link to the server closed", why]).await;
        self.goes_on().await;
    }

    async fn goes_on(self) {
        assert_eq!(Visitor::http1(self.honest.entry()).await.get("/").await.failure(), (200, ""));
        let log = self.log;
        assert_eq!(log.count(&["panicked"]), 0, "{}", log.text());
        let honest = format!("server={}", self.honest.tunnel);
        assert_eq!(log.count(&[&honest, "closed"]) + log.count(&[&honest, "disconnected"]), 0, "{}", log.text());
        log.is_short();
    }
}

async fn survives(name: &str) {
    let attack = attack::named(name).unwrap();
    let mut between = Between::start().await;
    match attack.end {
        End::Closed(why) => {
            between.foe.rounds(attack, ROUNDS).await;
            between.shown_out(why).await;
        }
        End::Borne => {
            let lasts = between.foe.rounds(attack, ROUNDS_BORNE).await;
            assert!(lasts, "{:?}", between.foe.peer.quic.close_reason());
            if name == "no-rule" {
                assert_eq!(between.upstream.saw().requests(), 0);
            }
            between.goes_on().await;
        }
    }
}

/// Has the client's visitors ask until the hostile server, which answers with `answer` and says that this was all where
/// it `ends`, has lost its link.
async fn answering(answer: &[u8], ends: bool, why: &str) {
    let between = Between::start().await;
    let peer = &between.foe.peer;
    let answers = async {
        while let Ok((mut send, _recv)) = peer.quic.accept_bi().await {
            // What was reset meanwhile needs no answer.
            let _ = send.write_all(answer).await;
            if ends {
                let _ = send.finish();
            } else {
                // Whoever reads gives up, or waits for more for ever.
                let _ = send.stopped().await;
            }
        }
    };
    let asks = async {
        // So many at once: one by one, all but the first few would go to the honest server, which fails nobody.
        loop {
            let (mut asked, mut visitors) = (Vec::new(), Vec::new());
            for _ in 0..5 {
                let mut visitor = Visitor::http2(between.client.entry()).await;
                for _ in 0..100 {
                    let request = visitor.request("GET", "/").empty();
                    asked.push(visitor.start(request).await);
                }
                visitors.push(visitor);
            }
            for one in asked {
                one.whole().await;
            }
        }
    };
    tokio::select! {
        () = adit_tests::within("the link to be closed", answers) => {}
        () = asks => {}
    }
    between.shown_out(why).await;
}

#[tokio::test]
async fn answers_that_are_none_end_the_link() {
    answering(b"\x04HTTP", true, "carry no exchange").await;
}

#[tokio::test]
async fn interim_responses_without_end_end_the_link() {
    let interim = ReplyHead { status: StatusCode::PROCESSING, reason: None, headers: HeaderMap::new() };
    let mut bytes = BytesMut::new();
    exchange::encode_reply(&Reply::Informational(interim), &Limits::default(), &mut bytes).unwrap();
    answering(&bytes.repeat(1_000), false, "carry no exchange").await;
}

#[tokio::test]
async fn a_server_that_does_not_let_a_client_join_is_asked_again_at_leisure() {
    let between = Between::start().await;
    drop(between.foe);
    let mut peers: Vec<Peer> = Vec::new();
    for _ in 0..3 {
        let peer = between.host.welcome().await;
        peer.quic.close(3_u32.into(), b"denied");
        peers.push(peer);
    }
    assert_eq!(Visitor::http1(between.honest.entry()).await.get("/").await.failure(), (200, ""));
}
