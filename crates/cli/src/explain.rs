//! Which rule takes a request, and why the others don't.

use std::fmt::Write as _;

use adit_core::{
    http::{host::Host, path},
    route::{Pattern, RouteTable, Verdict},
};
use adit_node::settings::{EgressRule, EgressSettings, IngressRule};
use anyhow::Context;
use http::{Method, Uri};

use crate::config::Settings;

/// Says which rule, group and upstream would take `method url`.
///
/// # Errors
///
/// When the URL is none that adit would take.
pub fn explain(settings: &Settings, method: &Method, url: &Uri) -> anyhow::Result<String> {
    let authority = url.authority().context("the URL has no host: use http://HOST/PATH")?;
    let host = Host::parse(authority.as_str()).context("400 bad-request")?;
    let path = path::normalise(url.path()).context("400 bad-request")?;
    let mut text = format!("{method} {url}\n");
    match settings {
        Settings::Server(server) => {
            text.push_str("\nfrom visitors, [[ingress]]:\n");
            section(
                &mut text,
                &host.name,
                &path,
                server.ingress.iter().map(|rule| (&rule.pattern, ingress_target(rule))),
            );
            text.push_str("\nfrom clients, [[egress]]:\n");
            egress(&mut text, &host.name, &path, &server.egress);
        }
        Settings::Client(client) => {
            text.push_str("\nfrom the server's visitors, [[egress]]; what the server pushes comes after these:\n");
            egress(&mut text, &host.name, &path, &client.egress);
        }
    }
    Ok(text)
}

fn egress(text: &mut String, host: &str, path: &str, settings: &EgressSettings) {
    section(text, host, path, settings.rules.iter().map(|rule| (&rule.pattern, egress_target(rule, settings))));
}

fn ingress_target(rule: &IngressRule) -> String {
    let keys = rule.options.gate.keys();
    let gate = if keys.is_empty() { String::new() } else { format!(", behind {}", keys.join(", ")) };
    format!("group {}{gate}", rule.group)
}

fn egress_target(rule: &EgressRule, settings: &EgressSettings) -> String {
    let servers = settings.upstreams.get(&rule.upstream).map(|upstream| &upstream.servers);
    let servers: Vec<_> = servers.into_iter().flatten().map(ToString::to_string).collect();
    let groups = match &rule.groups {
        Some(groups) => {
            format!(", for groups {}", groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        None => String::new(),
    };
    format!("upstream {} ({}){groups}", rule.upstream, servers.join(", "))
}

fn section<'a>(text: &mut String, host: &str, path: &str, rules: impl Iterator<Item = (&'a Pattern, String)>) {
    // Equal rules were refused when the configuration was loaded.
    let table = RouteTable::new(rules.map(|(pattern, target)| (pattern.clone(), target))).unwrap_or_default();
    let verdicts = table.explain(host, path);
    for (number, ((pattern, target), verdict)) in (1..).zip(table.rules().iter().zip(&verdicts)) {
        let mark = if *verdict == Verdict::Taken { "▶" } else { " " };
        let other = match verdict {
            Verdict::LessSpecific(other) => format!(", number {}", other + 1),
            Verdict::Taken | Verdict::OtherHost | Verdict::OtherPath => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark} {number}. {pattern} → {target}: {verdict}{other}");
    }
    if !verdicts.contains(&Verdict::Taken) {
        text.push_str("  no rule takes it: 404 no-route\n");
    }
}
