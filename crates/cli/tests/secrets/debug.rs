//! No secret in what is written with `{:?}`: types that hold one find their way into logs and panics.

use std::fmt::Debug;

use adit::{
    config::{self, file::Secret, tokens},
    token::{self, TokenCommand},
};
use adit_core::{
    admission::{Shown, Tokens, identify},
    gate::{Credentials, Gate, PasswordHash, Presented, TokenHash},
    id::{Identity, Proof},
    route::RuleOptions,
    token::Token,
    wire::control::{Control, StreamOpen, StreamType},
};
use adit_node::{
    Client, Server,
    credentials::{self, KeyMode},
    link::{client_trust::ClientTrust, listen::server_config, tls::client_config},
};

use crate::{
    ALICE, ALICES, BEARER, Home, client,
    needles::{self, Needles},
    server, upstream,
};

/// All that was shown.
#[derive(Default)]
struct Seen(String);

impl Seen {
    fn see(&mut self, value: impl Debug) {
        self.0.push_str(&format!("{value:?}\n{value:#?}\n"));
    }
}

#[tokio::test]
async fn what_holds_a_secret_does_not_show_it() {
    let (home, mut seen) = (Home::new(), Seen::default());
    let base = home.dir.path();
    home.write("server.toml", &server());
    let upstream = upstream();
    let text = home.read("client.token");
    let token: Token = text.trim_end().parse().unwrap();

    let loaded = config::server(&base.join("server.toml"), base).unwrap();
    seen.see(&loaded);
    seen.see(server_config(&loaded.settings.tunnel).unwrap());
    seen.see(ClientTrust::new(&loaded.settings.tunnel).unwrap());
    let settings = &loaded.settings;
    seen.see((&settings.admin, &settings.ingress, &settings.tunnel.credentials, &settings.tunnel.tokens));
    let node = Server::bind(loaded.settings).await.unwrap();
    seen.see((&node, node.control()));
    for proof in ["token_file = \"client.token\"", "cert = \"certs/client.pem\"\nkey = \"certs/client.key\""] {
        home.write("client.toml", &client("127.0.0.1:1", proof, "web", upstream));
        let loaded = config::client(&base.join("client.toml"), base).unwrap();
        seen.see(&loaded);
        let tunnel = &loaded.settings.tunnel;
        seen.see((&tunnel.proof, client_config(&tunnel.proof, &tunnel.trust, tunnel.congestion).unwrap()));
        let node = Client::bind(loaded.settings).await.unwrap();
        seen.see((&node, node.control()));
    }

    let listed = tokens::read(&base.join("tokens.toml")).unwrap();
    let known = Tokens::new(listed.iter().map(|listed| listed.grant.clone()).collect());
    let shown = Shown { certificate: None, token: Some(token.clone()) };
    let identity: Identity = identify(&shown, &known).unwrap();
    let open = StreamOpen {
        client_id: "client-1".parse().unwrap(),
        group: "web".parse().unwrap(),
        stream_type: StreamType::Http,
        version: "1".to_owned(),
        features: 0,
        timestamp_ms: 0,
        token: Some(token.clone()),
    };
    seen.see((&token, token.hash(), Proof::Token(token.hash()), &listed, &known, &shown, &identity));
    seen.see((Control::StreamOpen(open), Secret(ALICES.to_owned()), "not a token".parse::<Token>()));
    let gate = Gate {
        credentials: Some(Credentials {
            users: vec![("alice".to_owned(), PasswordHash::new(ALICES))],
            tokens: vec![("ci".to_owned(), TokenHash::of(BEARER.as_bytes()))],
            ..Credentials::default()
        }),
        ..Gate::default()
    };
    seen.see(RuleOptions { gate, ..RuleOptions::default() });
    seen.see(Presented::Basic { user: b"alice".to_vec(), password: ALICE.into() });
    seen.see(Presented::Bearer(BEARER.into()));
    let operator = home.read("admin.token");
    seen.see(credentials::admin_token_from_file(&base.join("admin.token"), KeyMode::OwnerOnly).unwrap());
    let made = token::run(TokenCommand::Admin { out: None }).unwrap();
    seen.see(&made);
    assert!(seen.0.contains("web-1") && seen.0.contains("Token(…)"), "it shows nothing at all");

    let hash = |token: &str| Needles::hash(&TokenHash::of(token.trim_end().as_bytes()).to_text());
    needles::are_not_in(
        &[
            ("the token", Needles::token(&text)),
            ("its hash", Needles::hash(&token.hash().to_string())),
            ("the client's key", Needles::key(&home.read("certs/client.key"))),
            ("the server's key", Needles::key(&home.read("certs/server.key"))),
            ("the hash of alice's password", Needles::text(ALICES)),
            ("what alice shows", Needles::text(ALICE)),
            ("the token of a gate", Needles::text(BEARER)),
            ("its hash", hash(BEARER)),
            ("the admin token", Needles::token(&operator)),
            ("its hash", hash(&operator)),
            ("a token that was made", Needles::token(&made.out)),
        ],
        &seen.0,
    );
}
