//! Rows and cells of the conformance matrix, `docs/conformance.md`.
//!
//! A row is an `async fn(Cell)` and its name in a list. It becomes one test for each of its cells, and a line of the
//! document, which is compared with the lists by a test of its own:
//!
//! ```ignore
//! conformance! { "Trailers":
//!     trailers_of_a_response_arrive,
//!     a_chunk_of_a_bad_size_is_refused [h1 to any],
//!     early_hints_arrive [any to h1] [any to h2 open "hyper's HTTP/2 client drops 1xx"],
//! }
//! ```
//!
//! In brackets are the versions that the visitor and the upstream speak; all of them where there are none. An open
//! cell runs as well, and has to fail: once it works, it is not open any more.

use adit_node::settings::ServerUrl;

use crate::{Direction, Tunnel, Upstream, Visitor, message::Http};

/// What a visitor and an upstream speak, and which way the tunnel goes between them.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The version that the visitor speaks.
    pub visitor: Http,
    /// The version that the upstream speaks.
    pub upstream: Http,
    /// The way of the tunnel.
    pub direction: Direction,
}

impl Cell {
    /// Returns the URL that makes a node speak this cell's version to an upstream.
    pub fn url(self, upstream: &Upstream) -> ServerUrl {
        match self.upstream {
            Http::Http1 => upstream.http(),
            Http::Http2 => upstream.h2c(),
        }
    }

    /// Starts a tunnel through which everything reaches `upstream`.
    pub async fn tunnel(self, upstream: &Upstream) -> Tunnel {
        Tunnel::to(self.url(upstream)).start(self.direction).await
    }

    /// Connects a visitor to the entry of a tunnel.
    pub async fn visitor(self, tunnel: &Tunnel) -> Visitor {
        match self.visitor {
            Http::Http1 => tunnel.http1().await,
            Http::Http2 => tunnel.http2().await,
        }
    }
}

/// Cells of a row.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Of visitors that speak one of these.
    pub visitors: &'static [Http],
    /// And of upstreams that speak one of these.
    pub upstreams: &'static [Http],
    /// Why they do not behave as the row says.
    pub open: Option<&'static str>,
}

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name of its test, which is a sentence.
    pub name: &'static str,
    /// Its cells.
    pub scopes: &'static [Scope],
}

/// Rows of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// The module with their tests.
    pub module: &'static str,
    /// The rows.
    pub rows: &'static [Row],
}

/// Returns the matrix as Markdown: a table for each section, and why cells are open.
pub fn markdown(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let module = section.module.rsplit("::").next().unwrap_or_default();
        text += &format!("\n### {} (`{module}`)\n\n", section.title);
        text += "| behaviour | ⇇ 1→1 | ⇇ 1→2 | ⇇ 2→1 | ⇇ 2→2 | ⇉ 1→1 | ⇉ 1→2 | ⇉ 2→1 | ⇉ 2→2 |\n";
        text += "|---|---|---|---|---|---|---|---|---|\n";
        let mut reasons = Vec::new();
        for row in section.rows {
            let marks = [Http::Http1, Http::Http2]
                .map(|visitor| [Http::Http1, Http::Http2].map(|upstream| mark(row, visitor, upstream, &mut reasons)));
            let marks = marks.concat().join(" | ");
            text += &format!("| {} | {marks} | {marks} |\n", row.name.replace('_', " "));
        }
        for (number, reason) in (1..).zip(&reasons) {
            text += &format!("\n{number}. {reason}\n");
        }
    }
    text
}

fn mark(row: &Row, visitor: Http, upstream: Http, reasons: &mut Vec<&'static str>) -> String {
    let holds = |scope: &&Scope| scope.visitors.contains(&visitor) && scope.upstreams.contains(&upstream);
    match row.scopes.iter().find(holds) {
        None => "·".to_owned(),
        Some(Scope { open: None, .. }) => "✓".to_owned(),
        Some(Scope { open: Some(reason), .. }) => {
            let known = reasons.iter().position(|known| known == reason);
            let number = known.unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            format!("open ({})", number + 1)
        }
    }
}

/// Makes of each row one test per cell, and of all rows the constant `SECTION`.
///
/// A case that is missing from the list is dead code, and the compiler says so.
#[macro_export]
macro_rules! conformance {
    ($title:literal: $($name:ident $([$visitor:ident to $upstream:ident $(open $why:literal)?])*),+ $(,)?) => {
        /// The rows of this file.
        pub(crate) const SECTION: $crate::conformance::Section = $crate::conformance::Section {
            title: $title,
            module: module_path!(),
            rows: &[$($crate::conformance::Row {
                name: stringify!($name),
                scopes: $crate::conformance!(@scopes $([$visitor $upstream $($why)?])*),
            }),+],
        };
        $(mod $name { $crate::conformance!(@tests $name $([$visitor $upstream $($why)?])*); })+
    };

    (@scopes) => { $crate::conformance!(@scopes [any any]) };
    (@scopes $([$visitor:ident $upstream:ident $($why:literal)?])+) => {
        &[$($crate::Scope {
            visitors: $crate::conformance!(@versions $visitor),
            upstreams: $crate::conformance!(@versions $upstream),
            open: $crate::conformance!(@why $($why)?),
        }),+]
    };
    (@versions any) => { &[$crate::Http::Http1, $crate::Http::Http2] };
    (@versions h1) => { &[$crate::Http::Http1] };
    (@versions h2) => { &[$crate::Http::Http2] };
    (@why) => { None };
    (@why $why:literal) => { Some($why) };

    (@tests $name:ident) => { $crate::conformance!(@tests $name [any any]); };
    (@tests $name:ident $([$visitor:ident $upstream:ident $($why:literal)?])+) => {
        $($crate::conformance!(@cells $name $visitor $upstream [$($why)?]);)+
    };
    (@cells $name:ident any $upstream:ident $open:tt) => {
        $crate::conformance!(@cells $name h1 $upstream $open);
        $crate::conformance!(@cells $name h2 $upstream $open);
    };
    (@cells $name:ident $visitor:ident any $open:tt) => {
        $crate::conformance!(@cells $name $visitor h1 $open);
        $crate::conformance!(@cells $name $visitor h2 $open);
    };
    (@cells $name:ident h1 h1 $open:tt) => {
        $crate::conformance!(@cell $name reverse_h1_to_h1 Http1 Http1 Reverse $open);
        $crate::conformance!(@cell $name forward_h1_to_h1 Http1 Http1 Forward $open);
    };
    (@cells $name:ident h1 h2 $open:tt) => {
        $crate::conformance!(@cell $name reverse_h1_to_h2 Http1 Http2 Reverse $open);
        $crate::conformance!(@cell $name forward_h1_to_h2 Http1 Http2 Forward $open);
    };
    (@cells $name:ident h2 h1 $open:tt) => {
        $crate::conformance!(@cell $name reverse_h2_to_h1 Http2 Http1 Reverse $open);
        $crate::conformance!(@cell $name forward_h2_to_h1 Http2 Http1 Forward $open);
    };
    (@cells $name:ident h2 h2 $open:tt) => {
        $crate::conformance!(@cell $name reverse_h2_to_h2 Http2 Http2 Reverse $open);
        $crate::conformance!(@cell $name forward_h2_to_h2 Http2 Http2 Forward $open);
    };
    (@cell $name:ident $test:ident $visitor:ident $upstream:ident $direction:ident []) => {
        #[tokio::test]
        async fn $test() {
            $crate::conformance!(@run $name $visitor $upstream $direction);
        }
    };
    (@cell $name:ident $test:ident $visitor:ident $upstream:ident $direction:ident [$why:literal]) => {
        #[tokio::test]
        #[should_panic]
        async fn $test() {
            $crate::conformance!(@run $name $visitor $upstream $direction);
        }
    };
    (@run $name:ident $visitor:ident $upstream:ident $direction:ident) => {
        super::$name($crate::Cell {
            visitor: $crate::Http::$visitor,
            upstream: $crate::Http::$upstream,
            direction: $crate::Direction::$direction,
        })
        .await;
    };
}
